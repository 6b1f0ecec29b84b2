// Keyboard shortcuts; inactive while typing or choosing from a list.

function stepPatch(state, step) {
  const patches = state.current.of[state.current.image[state.patch]];
  const index = patches.indexOf(state.patch) + step;
  if (index >= 0 && index < patches.length) state.change({ patch: patches[index] });
}

function stepImage(state, step) {
  const found = state.found;
  const index = found.indexOf(state.current.image[state.patch]);
  const next = index < 0 ? 0 : index + step;
  if (next < 0 || next >= found.length) return;
  state.patch = state.first(found[next]);
  turnToQuery(state);
  state.change({});
}

function connectKeys(state) {
  const upDown = (step) => () =>
    state.current.named ? stepImage(state, step) : stepPatch(state, 7 * step);
  const actions = {
    ArrowLeft: () => stepPatch(state, -1),
    ArrowRight: () => stepPatch(state, 1),
    ArrowUp: upDown(-1),
    ArrowDown: upDown(1),
    p: () => stepImage(state, -1),
    n: () => stepImage(state, 1),
    "+": () => addPane(state),
    "-": () => state.pairs.length > 1 && state.change({ pairs: state.pairs.slice(0, -1) }),
    "/": () => byId("text").focus(),
    d: () => byId("theme").click(),
    "?": () => byId("help").click(),
  };
  for (let column = 0; column < COLUMNS; column++) {
    actions[column + 1] = () => {
      focusColumn(column);
      byId("panes").children[column]?.scrollIntoView({ block: "nearest", inline: "nearest" });
    };
  }
  document.addEventListener("keydown", (event) => {
    const { target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || byId("keys").open) return;
    if (target.matches("input, select")) {
      if (event.key === "Escape") target.blur();
      return;
    }
    if ((event.key === "Enter" || event.key === " ") && target.dataset.patch) {
      event.preventDefault();
      state.change({ patch: Number(target.dataset.patch) });
      return;
    }
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
