import { join } from "node:path";
import { type JoinResponse, RaftMember } from "@starling/api";
import { type Clock, type Logger, type Random, SwarmError } from "@starling/base";
import {
  ConfChangeType,
  type Entry,
  EntryType,
  encodeConfChange,
  type HardState,
  MemoryStorage,
  noData,
  type SnapshotMetadata,
} from "raft-ts";
import { describeForcedLog, planForcedLog } from "./force-new-cluster.ts";
import { type Member, memberChange } from "./membership/membership.ts";
import type { NextTurn } from "./next-turn.ts";
import { random64 } from "./proposals.ts";
import type { SealerRing } from "./seal.ts";
import { type LoadedSnapshot, SnapshotStore } from "./snapshot-store/snapshot-store.ts";
import type { WalContents } from "./wal/replay.ts";
import { Wal, type WalOptions } from "./wal/wal.ts";

export interface OpenLogOptions extends Pick<WalOptions, "files" | "segmentBytes" | "onDiskFull"> {
  readonly nextTurn?: NextTurn | undefined;
  readonly stateDir: string;
  readonly sealers: SealerRing;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly nodeId: string;
  readonly addr: string;
  /** Id of the first member of a new cluster; random by default. */
  readonly raftId?: bigint | undefined;
  /** Joins a cluster when there is no log yet; without it a new cluster of one is made. */
  readonly join?: (() => Promise<JoinResponse>) | undefined;
  /** Start over as the only member, from what is committed here. */
  readonly forceNewCluster?: boolean | undefined;
}

/** A member's durable state, ready for raft. */
export interface OpenedLog {
  readonly raftId: bigint;
  readonly wal: Wal;
  readonly snapshots: SnapshotStore;
  /** Holds hard state, log and the snapshot's metadata (never its data). */
  readonly storage: MemoryStorage;
  readonly hardState: HardState | undefined;
  /** To be restored before the log is applied. */
  readonly snapshot: LoadedSnapshot | undefined;
  /** Members to talk to until the log tells who they are. */
  readonly peers: readonly Member[];
}

/** Opens this member's log and snapshots below `stateDir`/raft; joins or makes a cluster when there are none. */
export async function openLog(options: OpenLogOptions): Promise<OpenedLog> {
  const snapshots = await SnapshotStore.open({ ...options, dir: join(options.stateDir, "raft", "snapshots") });
  const walOptions: WalOptions = { ...options, dir: join(options.stateDir, "raft", "wal") };
  const existing = await Wal.open(walOptions);
  if (existing === undefined)
    return options.join
      ? await joined(options, walOptions, snapshots)
      : await bootstrapped(options, walOptions, snapshots);
  const { wal } = existing;
  const contents = options.forceNewCluster
    ? await forced(wal, existing.contents, snapshots, options.log)
    : existing.contents;
  const raftId = contents.identity.raftId;
  const snapshot = await snapshots.loadNewest((metadata) => leadsTo(contents, metadata));
  const { storage, hardState } = buildStorage(contents, snapshot, options.stateDir);
  return { raftId, wal, snapshots, storage, hardState, snapshot, peers: peersOf(contents.joined) };
}

/** A cluster of one: the log begins with the committed entry that adds this member. */
async function bootstrapped(options: OpenLogOptions, wal: WalOptions, snapshots: SnapshotStore): Promise<OpenedLog> {
  const raftId = options.raftId ?? randomRaftId(options.random);
  const self = { raftId, nodeId: options.nodeId, addr: options.addr };
  const data = encodeConfChange(memberChange(ConfChangeType.ConfChangeAddNode, self));
  const entry: Entry = { term: 1, index: 1, type: EntryType.EntryConfChange, data };
  const hardState = { term: 1, vote: raftId, commit: 1 };
  const created = await Wal.create(wal, { identity: RaftMember.create(self), hardState, entries: [entry] });
  const storage = new MemoryStorage();
  storage.append([entry]);
  storage.setHardState(hardState);
  return { raftId, wal: created, snapshots, storage, hardState, snapshot: undefined, peers: [] };
}

async function joined(options: OpenLogOptions, wal: WalOptions, snapshots: SnapshotStore): Promise<OpenedLog> {
  const response = await options.join!();
  const { raftId } = response;
  const identity = RaftMember.create({ raftId, nodeId: options.nodeId, addr: options.addr });
  const created = await Wal.create(wal, { identity, joined: response });
  const storage = new MemoryStorage();
  return {
    raftId,
    wal: created,
    snapshots,
    storage,
    hardState: undefined,
    snapshot: undefined,
    peers: peersOf(response),
  };
}

function peersOf(response: JoinResponse | undefined): readonly Member[] {
  return response?.members ?? [];
}

/** Swarm's ids: random, 63 bits, never 0. */
export function randomRaftId(random: Random): bigint {
  return random64(random) & 0x7fff_ffff_ffff_ffffn || 1n;
}

function lastIndexOf({ entries, mark }: WalContents): number {
  return entries.at(-1)?.index ?? mark?.index ?? 0;
}

/**
 * Can the state at a snapshot be brought up to date with this log? Not if the log has another term at its index: a crash
 * came between a leader's snapshot and the mark that replaces the log by it, so that it was never taken over (Raft §7).
 */
function leadsTo(contents: WalContents, { index, term }: SnapshotMetadata): boolean {
  const first = contents.entries[0]?.index ?? (contents.mark?.index ?? 0) + 1;
  if (index > lastIndexOf(contents) || first > index + 1) return false;
  const own = contents.entries[index - first];
  return own === undefined || own.term === term;
}

function buildStorage(
  contents: WalContents,
  snapshot: LoadedSnapshot | undefined,
  stateDir: string,
): { storage: MemoryStorage; hardState: HardState | undefined } {
  const storage = new MemoryStorage();
  const { entries } = contents;
  const first = entries[0];
  if (snapshot === undefined) {
    if ((first?.index ?? 1) !== 1 || (first === undefined && contents.mark !== undefined)) {
      const from = first?.index ?? contents.mark!.index + 1;
      const text = `raft log below ${stateDir} begins at entry ${from}, and no snapshot leads to it`;
      throw new SwarmError("DataLoss", `${text}: restore a backup, or remove this manager and let it join anew`);
    }
    storage.append(entries);
  } else if (first !== undefined && first.index <= snapshot.metadata.index) {
    // Entries from before the snapshot stay for slow followers; of the first one only its term is needed.
    const { metadata } = snapshot;
    storage.applySnapshot({ data: noData, metadata: { ...metadata, index: first.index, term: first.term } });
    storage.append(entries.slice(1));
    if (metadata.index > first.index) storage.createSnapshot(metadata.index, metadata.confState, noData);
  } else {
    storage.applySnapshot({ data: noData, metadata: snapshot.metadata });
    storage.append(entries);
  }
  const hardState = contents.hardState && {
    ...contents.hardState,
    commit: Math.max(contents.hardState.commit, snapshot?.metadata.index ?? 0),
  };
  if (hardState) storage.setHardState(hardState);
  return { storage, hardState };
}

/** Swarm's --force-new-cluster: first says what it drops. */
async function forced(wal: Wal, contents: WalContents, snapshots: SnapshotStore, log: Logger): Promise<WalContents> {
  const snapshot = await snapshots.loadNewest((metadata) => leadsTo(contents, metadata));
  const plan = planForcedLog(contents, snapshot);
  log.warn(describeForcedLog(plan, contents.identity));
  const { hardState, changes } = plan;
  await wal.append({ hardState, entries: changes });
  return { ...contents, hardState, entries: [...contents.entries, ...changes] };
}
