// The publish form: reads what a person wrote, publishes it, and shows the answer, problems included.

import { asCurl, asMosquitto, publishPath } from './commands.js';
import { bytesFrom, bytesOf, indentedJson, textOf, toBase64 } from './payload.js';
import { element, visibleLines } from './text.js';

export class PublishForm {
  /** `unknown()` is called when the gateway does not know any longer who asks. */
  constructor(page, { unknown }) {
    this.unknown = unknown;
    /** What `/api/v1` says, for commands; null as long as nobody knows. */
    this.gateway = null;
    this.at = (id) => page.getElementById(id);
    this.form = this.at('publish');
    this.form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#publish();
    });
    this.form.addEventListener('input', () => this.#countProperties());
    // as in other forms that send: the key that ends a line alone does not
    this.at('payload').addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) this.form.requestSubmit();
    });
    this.at('add-property').addEventListener('click', () => this.#addProperty('', '').focus());
    this.at('as-curl').addEventListener('click', () => this.#copy((message) => asCurl(message, document.baseURI, this.gateway)));
    this.at('as-mosquitto').addEventListener('click', () =>
      this.#copy((message) => asMosquitto(message, location.hostname.replace(/^\[|\]$/g, ''), this.gateway)));
  }

  /** As it was in the beginning: what was written and answered was somebody's. */
  forget() {
    this.form.reset();
    this.at('user-properties').replaceChildren();
    this.#countProperties();
    this.at('answer').hidden = true;
    this.at('answer-line').textContent = '';
    this.at('answer-body').textContent = '';
  }

  /** Takes over a message that was received, to be changed and published again. */
  fill(envelope) {
    const bytes = bytesOf(envelope);
    const text = envelope.encoding === 'base64' ? null : envelope.payload ?? '';
    const properties = envelope.properties ?? {};
    this.at('topic').value = envelope.topic;
    this.at('encoding').value = text === null ? 'base64' : 'text';
    this.at('payload').value = text ?? toBase64(bytes);
    this.form.elements.qos.value = String(envelope.qos);
    this.at('retain').checked = Boolean(envelope.retain);
    this.at('content-type').value = properties.content_type ?? '';
    this.at('expiry').value = properties.expiry || '';
    this.at('user-properties').replaceChildren();
    for (const [name, value] of properties.user ?? []) this.#addProperty(name, value);
    this.#countProperties();
    this.at('topic').focus();
  }

  #read() {
    const bytes = bytesFrom(this.at('payload').value, this.at('encoding').value);
    const user = Array.from(this.at('user-properties').children, (row) =>
      Array.from(row.querySelectorAll('input'), (input) => input.value));
    if (user.some(([name]) => name.includes('='))) {
      throw new Error('the name of a user property cannot contain "=" here');
    }
    return {
      topic: this.at('topic').value,
      bytes,
      text: textOf(bytes),
      qos: this.form.elements.qos.value,
      retain: this.at('retain').checked,
      contentType: this.at('content-type').value.trim(),
      expiry: this.at('expiry').value,
      user: user.filter(([name, value]) => name || value),
    };
  }

  async #publish() {
    try {
      const message = this.#read();
      const headers = message.contentType ? { 'Content-Type': message.contentType } : {};
      const begun = performance.now();
      // bytes, not a string: a string would get a content type that nobody wrote
      const response = await fetch(publishPath(message), { method: 'POST', headers, body: message.bytes });
      const body = await response.text();
      const millis = Math.round(performance.now() - begun);
      const state = response.ok ? 'good' : 'bad';
      const line = response.ok ? `✓ Published · ${response.status}` : `✗ ${problemIn(body, response)}`;
      this.#answer(state, `${line} · ${millis} ms`, indentedJson(body) ?? body);
      if (response.status === 401) this.unknown();
    } catch (error) {
      this.#answer('bad', `✗ Not published: ${error.message}`, '');
    }
  }

  async #copy(write) {
    let command;
    try {
      command = write(this.#read());
    } catch (error) {
      this.#answer('bad', `✗ ${error.message}`, '');
      return;
    }
    // only pages of this machine or over TLS may use the clipboard; the command is shown in any case
    const copied = await (navigator.clipboard?.writeText(command) ?? Promise.reject()).then(() => true, () => false);
    this.#answer('', copied ? '✓ Copied' : 'Copy this:', command);
  }

  #answer(state, line, body) {
    this.at('answer').hidden = false;
    this.at('answer').dataset.state = state;
    this.at('answer-line').textContent = line;
    this.at('answer-body').textContent = visibleLines(body);
    this.at('answer-body').hidden = !body;
  }

  #addProperty(name, value) {
    const row = element('li');
    const [key, text] = [['Name', name], ['Value', value]].map(([label, content]) => {
      const input = element('input', 'mono');
      input.setAttribute('aria-label', `${label} of the user property`);
      input.placeholder = label.toLowerCase();
      input.value = content;
      return input;
    });
    const remove = element('button', '', '×');
    remove.type = 'button';
    remove.setAttribute('aria-label', 'Remove this user property');
    remove.addEventListener('click', () => {
      row.remove();
      this.#countProperties();
      this.at('add-property').focus();
    });
    row.append(key, text, remove);
    this.at('user-properties').append(row);
    this.#countProperties();
    return key;
  }

  #countProperties() {
    const set = [this.at('content-type').value, this.at('expiry').value].filter(Boolean).length
      + this.at('user-properties').childElementCount;
    this.at('property-count').textContent = set ? `(${set})` : '';
  }
}

function problemIn(body, response) {
  try {
    const problem = JSON.parse(body);
    return [problem.title, problem.detail].filter(Boolean).join(': ') || `${response.status}`;
  } catch {
    return `${response.status} ${response.statusText}`;
  }
}
