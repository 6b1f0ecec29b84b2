// What is looked at, in the address: a link shows the same.

const COLUMNS = 4;

class State {
  constructor(sets) {
    this.sets = sets;
    this.read();
    addEventListener("hashchange", () => {
      this.read();
      this.tell();
    });
  }

  // Takes over what the address says; what it says wrongly is as if it were not there.
  read() {
    const said = new URLSearchParams(location.hash.slice(1));
    this.set = Math.max(0, this.sets.findIndex((set) => set.name === said.get("set")));
    const set = this.current;
    if (!set) return;
    const patch = said.has("patch") ? Number(said.get("patch")) : -1;
    this.part = set.parts.indexOf(said.get("part"));
    this.patch = Number.isInteger(patch) && patch >= 0 && patch < set.size ? patch : this.first(0);
    const names = set.pairs.map((pair) => pair.name);
    const wanted = said.getAll("pair").map((name) => names.indexOf(name));
    this.pairs = wanted.filter((pair) => pair >= 0).slice(0, COLUMNS);
    if (!this.pairs.length) this.pairs = set.first;
    this.text = said.get("image") || "";
  }

  get current() {
    return this.sets[this.set];
  }

  get address() {
    const said = new URLSearchParams();
    said.set("set", this.current.name);
    said.set("patch", this.patch);
    for (const pair of this.pairs) said.append("pair", this.current.pairs[pair].name);
    if (this.part >= 0) said.set("part", this.current.parts[this.part]);
    if (this.text) said.set("image", this.text);
    return `#${said}`;
  }

  change(values) {
    Object.assign(this, values);
    history.replaceState(null, "", this.address);
    this.tell();
  }

  // Another set begins with its own first patch and pairs; a pair of the same name stays.
  changeSet(number) {
    const names = this.pairs.map((pair) => this.current.pairs[pair].name);
    const said = new URLSearchParams({ set: this.sets[number].name });
    for (const name of names) said.append("pair", name);
    history.replaceState(null, "", `#${said}`);
    this.read();
    this.change({});
  }

  // Images that fit the search, by number.
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

  // The patch of an image that the search means; of windows the middle one.
  first(image) {
    const patches = this.current.of[image];
    const fitting = patches.find((patch) => this.current.part[patch] === this.part);
    return (this.current.named ? fitting : patches[patches.length >> 1]) ?? patches[0];
  }
}
