// Live messages of a filter: the stream, what of it is shown, and the numbers above the list.
//
// Messages may come faster than anybody reads or a browser draws. They are counted as they come, and drawn in steps;
// what does not fit is left out and told: "showing 1 of n".

import { ArrivalQueue } from './queue.js';
import { Rows } from './rows.js';
import { Stream } from './stream.js';
import { count } from './text.js';

/** Rows that are drawn in one step, and the pause between steps. */
const STEP = 40;
const STEP_MS = 80;
const SECOND_MS = 1_000;
/** At most so often a screen reader is told the numbers; a change of state it is told with the next count. */
const ANNOUNCE_MS = 15_000;
const GLYPHS = { idle: '○', connecting: '◌', live: '●', paused: '❙❙', waiting: '↻', closed: '■' };

export class LiveMessages {
  #stream = null;
  #queue = new ArrivalQueue();
  #paused = false;
  #state = ['idle', 'idle'];
  #drawTimer = 0;
  #drawn = 0;
  #last = { received: 0, drawn: 0, at: performance.now() };
  #announced = { state: '', text: '', at: 0 };

  /** `unknown()` is called when the gateway does not know any longer who asks. */
  constructor(page, { reuse, unknown }) {
    this.at = (id) => page.getElementById(id);
    this.unknown = unknown;
    this.rows = new Rows(this.at('messages'), { reuse });
    this.at('listen').addEventListener('submit', (event) => {
      event.preventDefault();
      if (this.#stream) this.#disconnect();
      else this.listen(this.at('filter').value);
    });
    // another filter, chosen while connected, takes effect at once
    this.at('filter').addEventListener('change', () => this.#stream && this.listen(this.at('filter').value));
    this.at('with-retained').addEventListener('change', () => this.#stream && this.listen(this.at('filter').value));
    this.at('keep').addEventListener('change', () => this.#keep());
    this.at('pause').addEventListener('click', () => this.#pause(!this.#paused));
    this.at('clear').addEventListener('click', () => this.#clear());
    this.#keep();
    setInterval(() => this.#count(), SECOND_MS);
  }

  /** Shows messages of `filter` from now on. */
  listen(filter) {
    this.#stream?.close();
    this.#stream = null;
    this.at('filter').value = filter;
    if (!filter) return;
    history.replaceState(null, '', `#${new URLSearchParams([['topic', filter]])}`);
    this.#pause(false);
    this.#stream = new Stream(filter, { retained: this.at('with-retained').checked }, {
      state: (name, text) => this.#become(name, text),
      message: (raw) => {
        this.#queue.message(raw);
        this.#drawSoon();
      },
      control: (name, data) => this.#note(noteOf(name, data)),
      fault: (problem) => {
        this.#note({ kind: 'fault', title: problem.title ?? 'Refused', text: `· ${problem.detail ?? problem.status}` });
        this.#stream = null;
        this.#showButtons();
      },
      unknown: () => this.unknown(),
    });
    this.#showButtons();
  }

  /** Shows nothing any more, and forgets what was shown: the next one to log in may be somebody else. */
  forget() {
    if (this.#stream) this.#disconnect();
    this.#clear();
  }

  #disconnect() {
    this.#stream.close();
    this.#stream = null;
    this.#pause(false);
    this.#become('idle', 'disconnected');
    this.#showButtons();
  }

  #pause(paused) {
    this.#paused = paused;
    this.#showState();
    this.#showButtons();
    this.#drawSoon();
  }

  #clear() {
    this.#queue.reset();
    this.#drawn = 0;
    this.#last = { received: 0, drawn: 0, at: performance.now() };
    this.rows.clear();
    this.#count();
  }

  #keep() {
    this.rows.most = Number(this.at('keep').value);
    this.rows.add([]);
  }

  #become(name, text) {
    this.#state = [name, text];
    if (name === 'closed') this.#stream = null;
    this.#showState();
    this.#showButtons();
  }

  #note(note) {
    if (!note) return;
    this.#queue.note(note);
    this.#drawSoon();
  }

  #drawSoon() {
    if (this.#drawTimer || this.#paused || !this.#queue.length) return;
    this.#drawTimer = setTimeout(() => requestAnimationFrame(() => this.#draw()), STEP_MS);
  }

  #draw() {
    this.#drawTimer = 0;
    if (this.#paused) return;
    const items = this.#queue.take(STEP);
    this.#drawn += items.filter((item) => !item.note).length;
    this.rows.add(items);
    this.at('empty').hidden = this.at('messages').childElementCount > 0;
    this.#drawSoon();
  }

  // once a second: rate, and which part of what comes is shown
  #count() {
    const { received, skipped } = this.#queue;
    const now = performance.now();
    const seconds = Math.max((now - this.#last.at) / SECOND_MS, 0.1);
    const came = received - this.#last.received;
    const shown = this.#drawn - this.#last.drawn;
    this.#last = { received, drawn: this.#drawn, at: now };
    const rate = Math.round(came / seconds);
    this.at('received').textContent = count(received);
    this.at('rate').textContent = count(rate);
    this.at('skipped').textContent = count(skipped);
    this.at('skipped').dataset.alert = skipped ? 'yes' : 'no';
    const part = came > shown * 1.5 && came > STEP ? Math.round(came / Math.max(shown, 1)) : 1;
    const sampling = this.#paused ? 'paused' : part > 1 ? `showing 1 of ${count(part)}` : 'every message';
    this.at('sampling').textContent = sampling;
    this.at('sampling').dataset.alert = part > 1 ? 'yes' : 'no';
    this.at('empty').hidden = this.at('messages').childElementCount > 0;
    this.#announce(this.#shownState()[1], `${count(received)} messages${rate ? `, ${count(rate)} per second` : ''}`);
  }

  #announce(state, numbers) {
    const now = performance.now();
    const text = `${state}. ${numbers}.`;
    if (text === this.#announced.text) return;
    if (state === this.#announced.state && now - this.#announced.at < ANNOUNCE_MS) return;
    this.#announced = { state, text, at: now };
    this.at('announce').textContent = text;
  }

  #shownState() {
    return this.#paused && this.#state[0] === 'live' ? ['paused', 'paused, still counting'] : this.#state;
  }

  #showState() {
    const [name, text] = this.#shownState();
    const state = this.at('state');
    state.dataset.state = name;
    state.querySelector('.glyph').textContent = GLYPHS[name];
    this.at('state-text').textContent = text;
    state.title = text;
  }

  #showButtons() {
    const connected = Boolean(this.#stream);
    this.at('connect').textContent = connected ? 'Disconnect' : 'Connect';
    this.at('connect').classList.toggle('primary', !connected);
    this.at('pause').disabled = !connected;
    this.at('pause').textContent = this.#paused ? 'Resume' : 'Pause';
  }
}

/** What the stream says about itself, in words. */
function noteOf(name, data) {
  switch (name) {
    case 'ready':
      return { kind: 'ready', title: 'Ready', text: `· ${(data.filters ?? []).join('  ')}${data.hint ? ` · ${data.hint}` : ''}` };
    case 'gap': {
      const most = data.lost_at_most === undefined ? 'messages may be missing' : `up to ${count(data.lost_at_most)} messages are missing`;
      return { kind: 'gap', title: 'Gap', text: `· ${data.reason}: ${most}` };
    }
    case 'bye':
      return { kind: 'bye', title: 'Bye', text: `· ${data.reason}, ${data.reconnect ? 'reconnecting' : 'not coming back'}` };
    default:
      return null;
  }
}
