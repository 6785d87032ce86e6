import type { Millis } from "@starling/base";
import type { Chance } from "./chance.ts";
import type { Process, Schedule } from "./schedule.ts";
import type { Trace } from "./trace.ts";

/** What can be called: an address, and the process that listens there, if any. */
export interface Endpoint {
  readonly name: string;
  readonly process: Process | undefined;
}

export interface Weather {
  /** Of each message. */
  readonly loss: number;
  readonly duplication: number;
  /** Of each message: it is late by up to `lateMs`, behind others sent after it. */
  readonly late: number;
  readonly lateMs: number;
}

export const fairWeather: Weather = { loss: 0, duplication: 0, late: 0, lateMs: 0 };

/**
 * Messages between endpoints: each may be lost, late, doubled, overtaken. Paths are cut one way at a time. A message to a
 * dead process is lost, and its sender may hear so.
 */
export class SimNetwork {
  weather: Weather = fairWeather;
  readonly #schedule: Schedule;
  readonly #chance: Chance;
  readonly #trace: Trace;
  readonly #cuts = new Set<string>();
  /** When the newest message of a path arrives, to see which ones are overtaken. */
  readonly #lastArrival = new Map<string, number>();

  constructor(schedule: Schedule, chance: Chance, trace: Trace) {
    this.#schedule = schedule;
    this.#chance = chance;
    this.#trace = trace;
  }

  cut(from: string, to: string): void {
    this.#cuts.add(`${from}>${to}`);
  }

  mend(): void {
    this.#cuts.clear();
  }

  get isCut(): boolean {
    return this.#cuts.size > 0;
  }

  reaches(from: string, to: string): boolean {
    return !this.#cuts.has(`${from}>${to}`);
  }

  /** Sends a message that may get lost. `refused`, if the sender lives and is told, says that nobody listens. */
  send(from: Endpoint, to: Endpoint, deliver: () => void, refused?: () => void): void {
    const { loss, duplication } = this.weather;
    if (!this.reaches(from.name, to.name)) {
      this.#trace.strike(this.reaches(to.name, from.name) ? "one-way cut" : "partition");
      return;
    }
    if (this.#chance.happens(loss)) {
      this.#trace.strike("message lost");
      return;
    }
    this.#carry(from, to, deliver, refused);
    if (!this.#chance.happens(duplication)) return;
    this.#trace.strike("message doubled");
    this.#carry(from, to, deliver, undefined);
  }

  /** How long a packet of a connection takes; undefined when it is lost or the path is cut. */
  delayOf(from: string, to: string): Millis | undefined {
    const { loss, late, lateMs } = this.weather;
    if (!this.reaches(from, to)) {
      this.#trace.strike(this.reaches(to, from) ? "one-way cut" : "partition");
      return undefined;
    }
    if (this.#chance.happens(loss)) {
      this.#trace.strike("message lost");
      return undefined;
    }
    if (!this.#chance.happens(late)) return this.#chance.between(0.2, 1.5);
    this.#trace.strike("message late");
    return this.#chance.between(1, lateMs);
  }

  #carry(from: Endpoint, to: Endpoint, deliver: () => void, refused: (() => void) | undefined): void {
    const { late, lateMs } = this.weather;
    let takes = this.#chance.between(0.2, 1.5);
    if (this.#chance.happens(late)) {
      takes += this.#chance.between(0, lateMs);
      this.#trace.strike("message late");
    }
    const path = `${from.name}>${to.name}`;
    const arrival = this.#schedule.now + takes;
    const before = this.#lastArrival.get(path) ?? 0;
    if (arrival < before) this.#trace.strike("message overtook");
    else this.#lastArrival.set(path, arrival);
    const arrive = () => {
      const { process } = to;
      if (!process?.alive) {
        if (refused !== undefined && this.reaches(to.name, from.name)) {
          this.#schedule.after(this.#chance.between(0.2, 1), from.process, refused);
        }
      } else if (process.pausedUntil > this.#schedule.now) {
        this.#schedule.after(process.pausedUntil - this.#schedule.now, process, deliver);
      } else deliver();
    };
    this.#schedule.after(takes, undefined, arrive);
  }
}
