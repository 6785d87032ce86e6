/** Pure: no clock, no I/O, no randomness. */
import { inSteps, type Steps } from "@starling/base";
import type { NodeInfo } from "./node-info.ts";

/** Room that is asked for; what it asks for not at all is -Infinity. */
export interface Room {
  readonly nanoCpus: number;
  readonly memoryBytes: number;
}

/**
 * How full reservations make a node, higher is fuller: Nomad's score of a binpacked node without its cap, 20 less 10 to the
 * power of each free share (both scarce ones count, the scarcer more). What a node does not report is free.
 */
export function fullness({ node, nanoCpusLeft, memoryBytesLeft }: NodeInfo): number {
  const has = node?.description?.resources;
  return (
    20 - 10 ** freeShare(nanoCpusLeft, has?.nanoCpus ?? 0) - 10 ** freeShare(memoryBytesLeft, has?.memoryBytes ?? 0)
  );
}

function freeShare(left: number, total: number): number {
  return total <= 0 ? 1 : Math.min(1, Math.max(0, left / total));
}

/** A node at its place. */
interface Entry {
  readonly info: NodeInfo;
  readonly fullness: number;
  readonly activeTasks: number;
  /** In which order nodes came to be known: the last resort. */
  readonly number: number;
}

/** Neighbours, with bounds by which all of them can be passed over. */
interface Block {
  readonly entries: Entry[];
  nanoCpusMost: number;
  memoryBytesMost: number;
}

/** A block of twice as many is split. */
const BLOCK_ENTRIES = 64;
/** Blocks looked at between two pauses. */
const BLOCKS_PER_STEP = 16;

/**
 * Nodes in the order in which bin-packing fills them: fullest first, then most tasks. Changes are only noted, and take effect
 * when the order is next asked for, so a node may be filled during an iteration. A change costs one block and a search,
 * a question one step per block without room and one per node before the answer in the others.
 */
export class PackedOrder {
  #blocks: Block[] = [];
  readonly #entries = new Map<NodeInfo, Entry>();
  /** Not yet at their places: first those that were there in the beginning. */
  #unplaced: Iterable<NodeInfo>;
  readonly #changed = new Set<NodeInfo>();
  /** Blocks whose bounds are to be measured. */
  readonly #touched = new Set<Block>();
  #numbers = 0;

  constructor(nodes: Iterable<NodeInfo>) {
    this.#unplaced = nodes;
  }

  /** What the node's place depends on is another, or it is new or gone. */
  changed(info: NodeInfo): void {
    this.#changed.add(info);
  }

  /** Nodes known to have room, as far as CPU and memory go; undefined as a pause. `isKnown`: the node is still there. */
  *withRoom(room: Room, isKnown: (info: NodeInfo) => boolean): Generator<NodeInfo | undefined> {
    yield* this.#settle(isKnown);
    let seen = 0;
    for (const block of [...this.#blocks]) {
      if (++seen % BLOCKS_PER_STEP === 0) yield undefined;
      if (block.nanoCpusMost < room.nanoCpus || block.memoryBytesMost < room.memoryBytes) continue;
      for (const { info } of block.entries) {
        if (room.nanoCpus <= info.nanoCpusLeft && room.memoryBytes <= info.memoryBytesLeft) yield info;
      }
    }
  }

  /** What changes during a pause takes its new place, too. */
  *#settle(isKnown: (info: NodeInfo) => boolean): Steps<void> {
    yield* inSteps(this.#unplaced, (info) => this.#place(info, isKnown(info)));
    this.#unplaced = [];
    yield* inSteps(this.#changed, (info) => {
      this.#changed.delete(info);
      this.#place(info, isKnown(info));
    });
    yield* inSteps(this.#touched, (block) => {
      this.#touched.delete(block);
      measure(block);
    });
  }

  #place(info: NodeInfo, isKnown: boolean): void {
    const old = this.#entries.get(info);
    if (old !== undefined) this.#takeOut(old);
    if (isKnown) this.#putIn(info, old?.number ?? this.#numbers++);
    else this.#entries.delete(info);
  }

  #takeOut(entry: Entry): void {
    const at = this.#blockOf(entry);
    const block = this.#blocks[at]!;
    block.entries.splice(placeIn(block.entries, entry), 1);
    this.#touched.add(block);
    if (block.entries.length === 0) this.#blocks.splice(at, 1);
  }

  #putIn(info: NodeInfo, number: number): void {
    const entry = { info, fullness: fullness(info), activeTasks: info.activeTasks, number };
    this.#entries.set(info, entry);
    if (this.#blocks.length === 0) {
      const only = newBlock([entry]);
      this.#touched.add(only);
      this.#blocks.push(only);
      return;
    }
    const at = Math.min(this.#blockOf(entry), this.#blocks.length - 1);
    const block = this.#blocks[at]!;
    block.entries.splice(placeIn(block.entries, entry), 0, entry);
    this.#touched.add(block);
    if (block.entries.length < 2 * BLOCK_ENTRIES) return;
    const second = newBlock(block.entries.splice(BLOCK_ENTRIES));
    this.#touched.add(second);
    this.#blocks.splice(at + 1, 0, second);
  }

  /** The first block that does not end before the entry. */
  #blockOf(entry: Entry): number {
    return firstFrom(this.#blocks.length, (at) => !isBefore(this.#blocks[at]!.entries.at(-1)!, entry));
  }
}

function newBlock(entries: Entry[]): Block {
  return { entries, nanoCpusMost: 0, memoryBytesMost: 0 };
}

function measure(block: Block): void {
  block.nanoCpusMost = block.memoryBytesMost = Number.NEGATIVE_INFINITY;
  for (const { info } of block.entries) {
    block.nanoCpusMost = Math.max(block.nanoCpusMost, info.nanoCpusLeft);
    block.memoryBytesMost = Math.max(block.memoryBytesMost, info.memoryBytesLeft);
  }
}

/** Where the entry is among these, or belongs. */
function placeIn(entries: readonly Entry[], entry: Entry): number {
  return firstFrom(entries.length, (at) => !isBefore(entries[at]!, entry));
}

/** The first number below `count` that the test holds from, by halving; `count` when there is none. */
function firstFrom(count: number, holds: (at: number) => boolean): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

function isBefore(a: Entry, b: Entry): boolean {
  if (a.fullness !== b.fullness) return a.fullness > b.fullness;
  if (a.activeTasks !== b.activeTasks) return a.activeTasks > b.activeTasks;
  return a.number < b.number;
}
