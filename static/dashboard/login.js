// Who uses the page: asks the gateway, and a person for a password where the gateway does not know.
//
// The session is a cookie that no script can read. What is kept here is a name to show.

import { Renewal } from './renewal.js';
import { visible } from './text.js';

const SESSION = 'auth/session';

export class Login {
  /** `on` has: entered() when it is known who uses the page, left() when that is over. */
  constructor(page, on) {
    this.at = (id) => page.getElementById(id);
    this.on = on;
    this.renewal = new Renewal({ over: () => this.again() });
    this.at('login-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#logIn();
    });
    this.at('log-out').addEventListener('click', () => this.#logOut());
    this.at('log-in').addEventListener('click', () => this.#ask(''));
  }

  /** Lets in whoever the gateway knows, or needs not know, and asks everybody else for a password. */
  async begin() {
    try {
      const response = await fetch(SESSION, { cache: 'no-store' });
      if (response.status === 401) return this.#ask('');
      const who = response.ok ? await response.json() : { user: null };
      this.#enter(who.user);
      this.renewal.follow(response, who.expires);
      // beside users there may be strangers; one of them may become a user
      const gateway = await (await fetch('api/v1')).json();
      this.at('log-in').hidden = !this.at('account').hidden || !gateway.auth?.some((way) => ['basic', 'bearer'].includes(way));
    } catch {
      // unreachable: the page says so by itself, and its stream comes back when the gateway does
      if (this.at('main').hidden) this.#enter(null);
    }
  }

  /** Asks again: what was known is over. */
  again() {
    if (this.at('login').hidden) this.#ask('The login is over. Log in again to go on.');
  }

  async #logIn() {
    const credentials = { user: this.at('user').value, password: this.at('password').value };
    this.at('password').value = '';
    try {
      const response = await fetch(SESSION, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify(credentials),
      });
      const answer = await response.json();
      if (response.ok) {
        this.#enter(answer.user);
        this.renewal.follow(response, answer.expires);
      } else if (response.status === 401) this.#say('Unknown user or wrong password.');
      else this.#say(answer.detail ?? `The gateway answered ${response.status}.`);
    } catch (error) {
      this.#say(`The gateway cannot be reached: ${error.message}`);
    }
  }

  async #logOut() {
    try {
      const response = await fetch(SESSION, { method: 'DELETE' });
      if (response.ok) this.#ask('');
    } catch {
      // still logged in, and the page still says so
    }
  }

  #enter(user) {
    this.#say('');
    this.at('login').hidden = true;
    this.at('main').hidden = false;
    this.at('account').hidden = user === null;
    this.at('log-in').hidden = true;
    this.at('who').textContent = user === null ? '' : visible(user);
    this.on.entered();
  }

  #ask(why) {
    this.renewal.stop();
    this.on.left();
    this.at('account').hidden = true;
    this.at('log-in').hidden = true;
    this.at('main').hidden = true;
    this.at('login').hidden = false;
    this.#say(why);
    this.at(this.at('user').value ? 'password' : 'user').focus();
  }

  #say(text) {
    this.at('login-answer').textContent = visible(text);
  }
}
