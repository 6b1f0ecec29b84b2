// The current view, kept in the address, so that a link restores it.

const COLUMNS = 4;

class State {
  constructor(sets) {
    this.sets = sets;
    this.read();
    addEventListener("hashchange", () => {
      this.read();
      this.redraw();
    });
  }

  // Reads the view from the address; invalid values are ignored.
  read() {
    const params = new URLSearchParams(location.hash.slice(1));
    this.set = Math.max(0, this.sets.findIndex((set) => set.name === params.get("set")));
    const set = this.current;
    if (!set) return;
    const patch = params.has("patch") ? Number(params.get("patch")) : -1;
    this.part = set.parts.indexOf(params.get("part"));
    this.patch = Number.isInteger(patch) && patch >= 0 && patch < set.size ? patch : this.first(0);
    const names = set.pairs.map((pair) => pair.name);
    const wanted = params.getAll("pair").map((name) => names.indexOf(name));
    this.pairs = wanted.filter((pair) => pair >= 0).slice(0, COLUMNS);
    if (!this.pairs.length) this.pairs = set.first;
    this.text = params.get("image") || "";
  }

  get current() {
    return this.sets[this.set];
  }

  get address() {
    const params = new URLSearchParams();
    params.set("set", this.current.name);
    params.set("patch", this.patch);
    for (const pair of this.pairs) params.append("pair", this.current.pairs[pair].name);
    if (this.part >= 0) params.set("part", this.current.parts[this.part]);
    if (this.text) params.set("image", this.text);
    return `#${params}`;
  }

  change(values) {
    Object.assign(this, values);
    history.replaceState(null, "", this.address);
    this.redraw();
  }

  // Another set starts with its own first patch and pairs; pairs of the same name are kept.
  changeSet(number) {
    const names = this.pairs.map((pair) => this.current.pairs[pair].name);
    const params = new URLSearchParams({ set: this.sets[number].name });
    for (const name of names) params.append("pair", name);
    history.replaceState(null, "", `#${params}`);
    this.read();
    this.change({});
  }

  // Indices of the images that match the search.
  get found() {
    const set = this.current;
    const text = this.text.toLowerCase();
    return set.images
      .map((_, image) => image)
      .filter(
        (image) =>
          set.images[image].toLowerCase().includes(text) &&
          (this.part < 0 || set.of[image].some((patch) => set.part[patch] === this.part)),
      );
  }

  // The patch of an image that matches the search; for windows, the middle one.
  first(image) {
    const patches = this.current.of[image];
    const fitting = patches.find((patch) => this.current.part[patch] === this.part);
    return (this.current.named ? fitting : patches[patches.length >> 1]) ?? patches[0];
  }
}
