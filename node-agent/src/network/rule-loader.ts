import { randomUUID } from "node:crypto";
import { closeNftSession, decodeReplies, type NetlinkResult, nfTables, runSteps } from "@starling/native/net";

/** Asks for the count, by a socket that is kept: closing one would wait for the clean-up after our last change. */
const generationOf = (session: string) =>
  ({ type: "netlink", protocol: nfTables.protocol, requests: [nfTables.getGeneration()], session }) as const;
const numberOf = ({ replies }: NetlinkResult): number | undefined => nfTables.decodeGeneration(decodeReplies(replies));

/**
 * Loads rules in the host's namespace, and knows by the kernel's count of transactions whether somebody else has changed rules
 * there since it last looked.
 */
export class RuleLoader {
  readonly #netns: string | undefined;
  readonly #session = `host ${randomUUID()}`;
  readonly #generation = generationOf(this.#session);
  /** The count after our last change, or the last look. */
  #count: number | undefined;
  #loading = 0;
  #othersChanged = false;

  /** `netns` is the host's network namespace; undefined: the process's own. */
  constructor(netns: string | undefined) {
    this.#netns = netns;
  }

  /** Does nothing for an empty script. Rejects when nftables refuse it. */
  async load(script: string): Promise<void> {
    if (script === "") return;
    this.#loading++;
    try {
      const nft = { type: "nft", script, session: this.#session } as const;
      const [before, result, after] = await runSteps(this.#netns, [this.#generation, nft, this.#generation]);
      const [from, to] = [numberOf(before), numberOf(after)];
      if (from !== this.#count || (to ?? 0) > (from ?? 0) + 1) this.#othersChanged ||= this.#count !== undefined;
      this.#count = to;
      if (!result.ok) throw new Error(`nftables refused: ${result.error.trim()}`);
    } finally {
      this.#loading--;
    }
  }

  /** Whether others have changed rules since the last call. A change at the same moment as one of ours may show twice. */
  async othersChanged(): Promise<boolean> {
    if (this.#loading === 0) {
      const before = this.#count;
      const [result] = await runSteps(this.#netns, [this.#generation]);
      const now = numberOf(result);
      if (this.#loading === 0 && before === this.#count) {
        this.#othersChanged ||= before !== undefined && now !== before;
        this.#count = now;
      }
    }
    const changed = this.#othersChanged;
    this.#othersChanged = false;
    return changed;
  }

  close(): void {
    closeNftSession(this.#session);
  }
}
