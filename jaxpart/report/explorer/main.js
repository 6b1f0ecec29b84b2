// Entry point: everything is redrawn whenever the state changes.

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function nameTheme() {
  byId("theme").textContent = isDark() ? "Light" : "Dark";
}

function start() {
  const raw = JSON.parse(byId("data").textContent);
  byId("data").remove();
  const sets = raw.sets.filter((set) => set.images.length && set.pairs.length).map((set) => new PatchSet(set));
  nameTheme();
  byId("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    nameTheme();
  });
  byId("help").addEventListener("click", () => byId("keys").showModal());
  if (!sets.length) {
    byId("empty").hidden = false;
    byId("set").parentElement.hidden = byId("add").hidden = byId("help").hidden = true;
    return;
  }
  byId("main").hidden = false;
  const state = new State(sets);
  options(byId("set"), sets.map((set, i) => [String(i), set.name]), String(state.set));
  byId("set").addEventListener("change", () => {
    page = 0;
    state.changeSet(Number(byId("set").value));
  });
  byId("add").addEventListener("click", () => addPane(state));
  connectBrowse(state);
  connectKeys(state);
  const draw = () => {
    byId("set").value = String(state.set);
    drawPicture(state);
    drawPanes(state);
    drawSearch(state);
    drawImages(state);
  };
  state.redraw = draw;
  turnToQuery(state);
  draw();
  requestAnimationFrame(() => setTimeout(() => performance.mark("drawn")));
  (async () => {
    for (const sprites of sets.flatMap((set) => [set.pictures, set.thumbnails])) await sprites?.warm();
    document.documentElement.dataset.warm = "yes";
  })();
}

start();
