import type { Clock, Logger, Timer } from "@starling/base";
import { auditTables } from "./audit.ts";
import type { Finding } from "./describe-plan.ts";
import type { HostApplier } from "./host-applier.ts";
import type { TaskNetwork } from "./task-network.ts";

const periodMs = 30_000;
/** How often the host's count of rule changes is looked at, and the least time between looks at what others changed. */
const watchMs = 250;
const quietMs = 1_000;
/** Looks at a network that changes meanwhile; the last one counts. */
const looksMax = 4;

/** What an audit looks at, and who mends. */
export interface Audited {
  readonly applier: HostApplier;
  readonly netns: string | undefined;
  tasks(): Iterable<TaskNetwork>;
  /** Does what is due anyway. */
  settle(): Promise<unknown>;
  /** Brings everything to what it should be. */
  mend(): Promise<unknown>;
  /** As `HostApplier.admit`, with all that depends on what it sees. */
  admit(repair: boolean): Promise<readonly string[]>;
  /** What the host's network, and encryption, lack or have too many now. */
  differences(): Promise<readonly Finding[]>;
  /** Counts the changes asked for: what was seen while one was under way may be neither old nor new. */
  stirred(): number;
}

/** Compares the kernel with what should be there, now and then by itself and when asked, and mends it. */
export class Auditor {
  readonly #audited: Audited;
  readonly #clock: Clock;
  readonly #log: Logger;
  #timer: Timer | undefined;
  #watchTimer: Timer | undefined;
  #othersChanged = false;
  #lookedAt = Number.NEGATIVE_INFINITY;
  /** One looks after the other. */
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(audited: Audited, options: { readonly clock: Clock; readonly log: Logger }) {
    this.#audited = audited;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#schedule();
    this.#watch();
  }

  /** What is not as it should be, each a sentence; mended when `repair`. `of` the host alone, or tasks' namespaces, too. */
  audit(repair: boolean, of: "host" | "all" = "all"): Promise<readonly Finding[]> {
    const audit = () => this.#audit(repair, of);
    const mine = this.#last.then(audit, audit);
    this.#last = mine;
    return mine;
  }

  async #audit(repair: boolean, of: "host" | "all"): Promise<readonly Finding[]> {
    let findings: readonly Finding[] = [];
    for (let look = 0; look < looksMax; look++) {
      await this.#audited.settle();
      const stirred = this.#audited.stirred();
      findings = await this.#look(repair, of);
      if (findings.length === 0 || stirred === this.#audited.stirred()) break;
    }
    if (findings.length > 0 && repair) {
      await this.#audited.mend();
      this.#log.warn("network was not as it should be, mended", {
        found: findings.length,
        first: findings[0]?.detail,
      });
    }
    return findings;
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#watchTimer?.cancel();
  }

  async #look(repair: boolean, of: "host" | "all"): Promise<readonly Finding[]> {
    const { applier, netns, tasks } = this.#audited;
    const findings: Finding[] = [...(await this.#audited.differences())];
    for (const detail of await this.#audited.admit(repair)) findings.push({ subject: "firewall", detail });
    for (const differences of (await auditTables(netns, applier.tables)).values()) {
      findings.push(...differences.map(({ detail }) => ({ subject: "rules", detail })));
      if (repair) applier.forgetTables();
    }
    for (const network of of === "all" ? tasks() : []) {
      for (const differences of (await auditTables(network.netnsPath, network.tables)).values()) {
        const where = `task ${network.local.taskId}`;
        findings.push(...differences.map(({ detail }) => ({ subject: "rules", detail: `${where}: ${detail}` })));
        if (repair) network.forgetTables();
      }
    }
    return findings;
  }

  /** Looks at once when another program has changed the host's rules: it may have flushed ours, or drop what they let pass. */
  #watch(): void {
    this.#watchTimer = this.#clock.setTimer(watchMs, () => {
      this.#lookAfterOthers()
        .catch((error) => this.#log.warn("the host's rules could not be looked at", { error }))
        .finally(() => {
          if (!this.#closed) this.#watch();
        });
    });
  }

  async #lookAfterOthers(): Promise<void> {
    const { applier } = this.#audited;
    if (applier.tables.length === 0) return;
    if (await applier.rulesChangedByOthers()) this.#othersChanged = true;
    if (!this.#othersChanged || this.#clock.monotonic() - this.#lookedAt < quietMs) return;
    this.#othersChanged = false;
    this.#lookedAt = this.#clock.monotonic();
    await this.audit(true, "host");
  }

  #schedule(): void {
    this.#timer = this.#clock.setTimer(periodMs, () => {
      this.audit(true)
        .catch((error) => this.#log.warn("network could not be audited", { error }))
        .finally(() => {
          if (!this.#closed) this.#schedule();
        });
    });
  }
}
