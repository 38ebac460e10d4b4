// SVG elements and sparklines.
const NAMESPACE = "http://www.w3.org/2000/svg";

/** An SVG element with attributes, a class and a text among them, and children. */
export function svg(tag, { cls, text, ...attributes } = {}, ...children) {
  const made = document.createElementNS(NAMESPACE, tag);
  if (cls) made.setAttribute("class", cls);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Sets an attribute only where it differs. */
export function setAttribute(node, name, value) {
  const next = String(value);
  if (node.getAttribute(name) !== next) node.setAttribute(name, next);
}

const WIDTH = 96;
const HEIGHT = 24;

/** The way of a line through `points` of a box, from 0 up to `top`; `null` is a gap. */
function way(points, top) {
  const step = WIDTH / Math.max(1, points.length - 1);
  let pen = false;
  let path = "";
  points.forEach((point, index) => {
    if (point === null) {
      pen = false;
      return;
    }
    const y = HEIGHT - 1 - (top > 0 ? (point / top) * (HEIGHT - 2) : 0);
    path += `${pen ? "L" : "M"}${(index * step).toFixed(1)} ${y.toFixed(1)}`;
    // A point that stands alone is seen as well.
    if (!pen && (points[index + 1] ?? null) === null) path += "h1.5";
    pen = true;
  });
  return path;
}

/** Fills `into` with a sparkline of `points`, said in words by `label`. Its height is the highest point, or `top`. */
export function sparkline(into, points, label, top = Math.max(0, ...points)) {
  let drawing = into.querySelector("svg.spark");
  if (!drawing) {
    drawing = svg("svg", { cls: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", preserveAspectRatio: "none" }, svg("path"));
    into.append(drawing);
  }
  setAttribute(drawing.firstChild, "d", way(points, top));
  setAttribute(drawing, "aria-label", label);
}
