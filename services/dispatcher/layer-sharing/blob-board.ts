/** Pure: no clock, no I/O, no randomness. */

/** Uploads of one blob that a node makes at once: what it gave the first of them these give the next, so all have it soon. */
const uploadsMax = 3;
/** Nodes remembered for each blob. More could not make it faster, and every node has the blobs of a common image. */
const holdersMax = 64;
/** A download that is not told of for this long has ended. */
const silenceMaxMs = 15_000;

/** A node that wants a blob. */
export interface Wish {
  readonly nodeId: string;
  readonly blob: string;
  /** The image that it is part of. */
  readonly image: string;
  readonly notFrom: readonly string[];
  /** Not before this does it go to the registry. */
  readonly registryAtMs: number;
}

/** Whose turn it is, and where it shall go. */
export interface Turn {
  readonly wish: Wish;
  /** Undefined: to the registry. */
  readonly from: string | undefined;
}

interface Download {
  readonly from: string | undefined;
  heardAtMs: number;
}

/**
 * What is known of one blob.
 * Invariant: at most one download is sent to the registry. A holder's count is that of the downloads from it.
 */
interface Entry {
  readonly blob: string;
  /** Uploads under way, by node. */
  readonly holders: Map<string, number>;
  /** By the node that downloads. */
  readonly downloads: Map<string, Download>;
  /** In the order they came. */
  readonly waiting: Map<string, Wish>;
}

/**
 * Who has, fetches and wants which blob. A wish waits until a node that has the blob is free, or until it may go to the registry:
 * when nobody has the blob and nobody fetches it there. Each call returns the turns that it brought about.
 */
export class BlobBoard {
  readonly #entries = new Map<string, Entry>();
  /** Blobs in whose entries a node is. */
  readonly #ofNode = new Map<string, Set<string>>();
  #downloads = 0;
  #waiting = 0;

  /** Downloads under way. */
  get downloads(): number {
    return this.#downloads;
  }

  /** Wishes whose turn has not come. */
  get waiting(): number {
    return this.#waiting;
  }

  /** The node has the blob; its download, if it had one, is over. */
  hold(nodeId: string, blob: string, nowMs: number): readonly Turn[] {
    const entry = this.#entry(blob);
    this.#release(entry, nodeId);
    if (!entry.holders.has(nodeId) && entry.holders.size < holdersMax) {
      entry.holders.set(nodeId, 0);
      this.#note(nodeId, entry);
    }
    return this.#settle(blob, nowMs);
  }

  wish(wish: Wish, nowMs: number): readonly Turn[] {
    const entry = this.#entry(wish.blob);
    this.#release(entry, wish.nodeId);
    // Who asks for it does not have it.
    entry.holders.delete(wish.nodeId);
    entry.waiting.set(wish.nodeId, wish);
    this.#waiting++;
    this.#note(wish.nodeId, entry);
    return this.#settle(wish.blob, nowMs);
  }

  /** The node downloads the blob, by another leader's word; from the registry, for all that is known here. */
  fetches(nodeId: string, blob: string, nowMs: number): readonly Turn[] {
    const entry = this.#entry(blob);
    this.#release(entry, nodeId);
    entry.downloads.set(nodeId, { from: undefined, heardAtMs: nowMs });
    this.#downloads++;
    this.#note(nodeId, entry);
    return this.#settle(blob, nowMs);
  }

  /** The node neither downloads nor wants the blob any more. */
  end(nodeId: string, blob: string, nowMs: number): readonly Turn[] {
    const entry = this.#entries.get(blob);
    if (entry === undefined) return [];
    this.#release(entry, nodeId);
    return this.#settle(blob, nowMs);
  }

  goesOn(nodeId: string, blob: string, nowMs: number): void {
    const download = this.#entries.get(blob)?.downloads.get(nodeId);
    if (download !== undefined) download.heardAtMs = nowMs;
  }

  /** The node is gone, with all that it has and does. */
  leave(nodeId: string, nowMs: number): readonly Turn[] {
    const blobs = [...(this.#ofNode.get(nodeId) ?? [])];
    this.#ofNode.delete(nodeId);
    return blobs.flatMap((blob) => {
      const entry = this.#entries.get(blob);
      if (entry === undefined) return [];
      this.#release(entry, nodeId);
      entry.holders.delete(nodeId);
      return this.#settle(blob, nowMs);
    });
  }

  /** Gives up downloads that nothing was heard of, and lets go to the registry what has waited for others long enough. */
  expire(nowMs: number): readonly Turn[] {
    const turns: Turn[] = [];
    for (const [blob, entry] of [...this.#entries]) {
      const silent = [...entry.downloads].filter(([, { heardAtMs }]) => nowMs - heardAtMs > silenceMaxMs);
      for (const [nodeId] of silent) this.#release(entry, nodeId);
      if (silent.length + entry.waiting.size > 0) turns.push(...this.#settle(blob, nowMs));
    }
    return turns;
  }

  #settle(blob: string, nowMs: number): readonly Turn[] {
    const entry = this.#entries.get(blob);
    if (entry === undefined) return [];
    const turns: Turn[] = [];
    for (const wish of [...entry.waiting.values()]) {
      const able = [...entry.holders].filter(([id]) => !wish.notFrom.includes(id));
      const free = able.filter(([, uploads]) => uploads < uploadsMax).sort(([, a], [, b]) => a - b)[0];
      const isFetched = [...entry.downloads.values()].some(({ from }) => from === undefined);
      if (free === undefined && (able.length > 0 || isFetched || nowMs < wish.registryAtMs)) continue;
      const from = free?.[0];
      entry.waiting.delete(wish.nodeId);
      this.#waiting--;
      entry.downloads.set(wish.nodeId, { from, heardAtMs: nowMs });
      this.#downloads++;
      if (free !== undefined) entry.holders.set(free[0], free[1] + 1);
      turns.push({ wish, from });
    }
    if (entry.holders.size + entry.downloads.size + entry.waiting.size === 0) this.#entries.delete(blob);
    return turns;
  }

  /** Ends what the node does about the blob; that it has it stays. */
  #release(entry: Entry, nodeId: string): void {
    if (entry.waiting.delete(nodeId)) this.#waiting--;
    const from = entry.downloads.get(nodeId)?.from;
    if (entry.downloads.delete(nodeId)) this.#downloads--;
    const uploads = from === undefined ? undefined : entry.holders.get(from);
    if (from !== undefined && uploads !== undefined) entry.holders.set(from, Math.max(0, uploads - 1));
  }

  #entry(blob: string): Entry {
    let entry = this.#entries.get(blob);
    if (entry === undefined) {
      entry = { blob, holders: new Map(), downloads: new Map(), waiting: new Map() };
      this.#entries.set(blob, entry);
    }
    return entry;
  }

  /** By the entry's own string: there is one for all nodes then. */
  #note(nodeId: string, { blob }: Entry): void {
    const blobs = this.#ofNode.get(nodeId);
    if (blobs === undefined) this.#ofNode.set(nodeId, new Set([blob]));
    else blobs.add(blob);
  }
}
