// What has arrived and is not on the page yet: bounded, newest kept, everything left out counted.

/** Waiting messages may have this many characters together. */
const MOST_CHARACTERS = 16 * 2 ** 20;

export class ArrivalQueue {
  #waiting = [];
  #characters = 0;

  constructor() {
    this.most = 250;
    this.reset();
  }

  /** Forgets everything, the numbers too. */
  reset() {
    this.#waiting = [];
    this.#characters = 0;
    this.received = 0;
    this.skipped = 0;
  }

  get length() {
    return this.#waiting.length;
  }

  /** A message, still as JSON: what will never be shown is never parsed. */
  message(raw) {
    this.received += 1;
    this.#push({ raw });
  }

  /** A line about the stream itself. */
  note(note) {
    this.#push({ raw: '', note });
  }

  /** Up to `most` of them, oldest first. */
  take(most) {
    const taken = this.#waiting.splice(0, most);
    for (const { raw } of taken) this.#characters -= raw.length;
    return taken;
  }

  #push(item) {
    this.#waiting.push(item);
    this.#characters += item.raw.length;
    // in steps: taking off the front moves the rest
    if (this.#waiting.length > this.most * 2) this.#skip(this.#waiting.length - this.most);
    while (this.#characters > MOST_CHARACTERS && this.#waiting.length > 1) this.#skip(1);
  }

  #skip(number) {
    const notes = [];
    for (const item of this.take(number)) {
      if (item.note) notes.push(item);
      else this.skipped += 1;
    }
    // what the stream says about itself is never left out, and is rare
    this.#waiting.unshift(...notes.slice(-20));
  }
}
