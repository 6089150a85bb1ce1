// The list of messages: one row each, newest first, opened for all there is to know. Text from outside enters the
// page through textContent only.

import { bytesOf, hexDump, indentedJson, textOf, toBase64, toHex } from './payload.js';
import { byteCount, count, element, timeOfDay, visible, visibleLines } from './text.js';

const PREVIEW_CHARACTERS = 200;
/** Longer payloads are kept by their beginning. A multiple of 12, so that base64 can be cut there. */
const KEPT_CHARACTERS = 48 * 1024;
/** Rows are lit up as they arrive, unless there are so many that the page would flicker. */
const LIT = 5;

export class Rows {
  #messages = new WeakMap();

  /** `reuse(message)` is called when a person wants to publish a message again. */
  constructor(list, { reuse }) {
    this.list = list;
    this.reuse = reuse;
    this.most = 250;
    // `toggle` does not bubble
    list.addEventListener('toggle', (event) => this.#toggled(event.target), true);
  }

  clear() {
    this.list.replaceChildren();
  }

  /** Adds rows, the oldest first, on top of the list, and lets the oldest rows go. */
  add(items) {
    const fragment = document.createDocumentFragment();
    for (const item of items) fragment.prepend(item.note ? noteRow(item.note) : this.#messageRow(item.raw, items.length <= LIT));
    this.list.prepend(fragment);
    let row = this.list.lastElementChild;
    for (let over = this.list.childElementCount - this.most; over > 0 && row; over -= 1) {
      const before = row.previousElementSibling;
      // what a person is reading stays
      if (!row.querySelector('details[open]') && !row.contains(document.activeElement)) row.remove();
      row = before;
    }
  }

  #messageRow(raw, lit) {
    const message = JSON.parse(raw);
    message.cut = (message.payload?.length ?? 0) > KEPT_CHARACTERS;
    if (message.cut) message.payload = message.payload.slice(0, KEPT_CHARACTERS);
    const summary = element('summary');
    const time = element('time', 'time', timeOfDay(message.time));
    time.dateTime = message.time ?? '';
    summary.append(
      time,
      element('span', 'topic', visible(message.topic)),
      element('span', 'preview', preview(message)),
      marks(message),
    );
    const details = element('details');
    details.append(summary);
    const row = element('li', lit ? 'fresh' : '');
    row.append(details);
    this.#messages.set(details, message);
    return row;
  }

  #toggled(details) {
    const message = this.#messages.get(details);
    if (!message) return;
    details.querySelector('.opened')?.remove();
    if (details.open) details.append(this.#opened(message));
  }

  #opened(message) {
    const box = element('div', 'opened');
    box.append(facts(message));
    const shown = element('pre', 'mono');
    shown.tabIndex = 0;
    shown.setAttribute('aria-label', 'Payload');
    const tools = element('div', 'tools');
    const buttons = views(message).map(([name, render]) => {
      const button = toolButton(name, () => {
        for (const other of buttons) other.setAttribute('aria-pressed', String(other === button));
        shown.textContent = render();
      });
      return button;
    });
    tools.append(...buttons, element('span', 'spacer'));
    // publishing a part of it would be a surprise
    if (!message.cut) tools.append(toolButton('Use in publish form', () => this.reuse(message)));
    buttons[0].click();
    box.append(tools, shown);
    if (message.cut) {
      box.append(element('p', 'hint', `Only the beginning of ${byteCount(message.size)} is kept here.`));
    }
    return box;
  }
}

function toolButton(name, action) {
  const button = element('button', 'small', name);
  button.type = 'button';
  button.addEventListener('click', action);
  return button;
}

function preview(message) {
  const payload = (message.payload ?? '').slice(0, PREVIEW_CHARACTERS);
  if (message.size === 0) return '(empty)';
  if (message.encoding === 'base64') return toHex(bytesOf({ payload, encoding: 'base64' }).subarray(0, 32));
  return visible(payload);
}

function marks(message) {
  const all = element('span', 'marks');
  const mark = (text, title, kind = '') => {
    const made = element('span', `mark ${kind}`, text);
    made.title = title;
    all.append(made);
  };
  if (message.snapshot) mark('snapshot', 'Was retained already when the stream began', 'kept');
  else if (message.retain) mark('retain', 'Published to be retained', 'kept');
  if (message.encoding === 'base64') mark('binary', 'The payload is not UTF-8 text', 'bytes');
  mark(`QoS ${message.qos}`, 'Quality of service it was published with');
  mark(byteCount(message.size ?? 0), 'Size of the payload');
  return all;
}

function facts(message) {
  const properties = message.properties ?? {};
  const list = element('dl');
  const fact = (name, value) => {
    if (value === undefined || value === null) return;
    list.append(element('dt', '', name), element('dd', '', visible(String(value))));
  };
  fact('topic', message.topic);
  fact('time', message.time);
  fact('quality', `QoS ${message.qos}${message.retain ? ', retain' : ''}${message.snapshot ? ', snapshot' : ''}`);
  fact('size', `${count(message.size ?? 0)} bytes`);
  fact('cursor', message.cursor);
  fact('content type', properties.content_type);
  fact('payload format', properties.payload_format);
  fact('expires in', properties.expiry === undefined ? null : `${properties.expiry} s`);
  fact('response topic', properties.response_topic);
  fact('correlation', properties.correlation_data);
  for (const [name, value] of properties.user ?? []) fact('user property', `${name} = ${value}`);
  return list;
}

/** What the payload can be looked at as, the best first. */
function views(message) {
  const bytes = bytesOf(message);
  const text = message.encoding === 'base64' ? null : textOf(bytes);
  const json = text === null || message.cut ? null : indentedJson(text);
  const all = [['Hex', () => hexDump(bytes)], ['Base64', () => toBase64(bytes)]];
  if (text !== null) all.unshift(['Text', () => visibleLines(text)]);
  if (json !== null) all.unshift(['JSON', () => visibleLines(json)]);
  return all;
}

function noteRow({ kind, title, text }) {
  const row = element('li');
  const note = element('div', `note ${kind}`);
  const line = element('p');
  line.append(element('strong', '', title), ` ${visible(text)}`);
  note.append(element('time', 'time', timeOfDay()), line);
  row.append(note);
  return row;
}
