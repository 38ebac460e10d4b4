// What components keep for their keys.
import { setText, table } from "../dom.js";
import { count } from "../spell.js";

const COLUMNS = [
  ["Component", "", (cell, state) => setText(cell, state.component)],
  ["State", "", (cell, state) => setText(cell, state.state)],
  ["Values", "How many keys it has values for", (cell, state) => setText(cell, count(state.entries))],
  ["Changelog", "The topic that it is kept in", (cell, state) => setText(cell, state.changelog ?? "kept nowhere")],
];

export default {
  name: "state",
  title: "State",
  open(root) {
    this.none = root.querySelector("[data-is=none]");
    this.table = root.querySelector("[data-is=states]");
  },
  update({ states }) {
    this.none.hidden = states.length > 0;
    this.table.parentElement.hidden = states.length === 0;
    table(this.table, COLUMNS, states, ({ component, state }) => `${component}/${state}`);
  },
};
