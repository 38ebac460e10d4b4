// How the page's elements are made and kept. Whatever a topology brings along becomes text, never markup: nothing here, or
// anywhere on the page, takes a string as HTML.

/** An element with a class, a text and further attributes, all optional, and children. */
export function el(tag, { cls, text, ...attributes } = {}, ...children) {
  const made = document.createElement(tag);
  if (cls) made.className = cls;
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Sets a text only where it differs, so that selections and the screen reader's place stay. */
export function setText(node, text) {
  const next = String(text);
  if (node.textContent !== next) node.textContent = next;
}

/** Makes the children of `parent` those of `items`, by key: those there are stay in place and are filled again. */
export function keyed(parent, items, keyOf, make, fill) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  // Of several with one key the map knows only the last: the others must go all the same.
  const left = new Set(parent.children);
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = String(keyOf(item));
    let child = old.get(key);
    if (child) {
      old.delete(key);
      left.delete(child);
    } else {
      child = make(item);
      child.dataset.key = key;
    }
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
    fill?.(child, item);
  }
  for (const child of left) child.remove();
}

/** Fills a table's body, a row for each item: the first cell is its heading. `columns` are `[title, hint, cell, cls]`, where
    `cell(td, item)` fills a cell, and `cls` is a class of its heading. */
export function table(into, columns, items, keyOf) {
  if (!into.tHead) {
    const head = into.createTHead().insertRow();
    for (const [title, hint, , cls] of columns) head.append(el("th", { scope: "col", title: hint, text: title, cls }));
    into.createTBody();
  }
  const make = () => {
    const row = el("tr");
    columns.forEach((_, index) => row.append(index === 0 ? el("th", { scope: "row" }) : el("td")));
    return row;
  };
  keyed(into.tBodies[0], items, keyOf, make, (row, item) => {
    columns.forEach(([, , fill], index) => fill(row.cells[index], item));
  });
}

/** Fills a list of terms and figures. */
export function figures(list, pairs) {
  const make = ([term]) => el("div", {}, el("dt", { text: term }), el("dd"));
  keyed(list, pairs, ([term]) => term, make, (div, [, value]) => setText(div.lastChild, value));
}
