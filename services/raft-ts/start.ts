/** Pure: no clock, no I/O, no randomness. */
import { type Config, checkConfig } from "./config.ts";
import { panic } from "./logger.ts";
import { restoreConfState } from "./membership.ts";
import { hex } from "./message-kinds.ts";
import { Raft } from "./raft.ts";
import { becomeFollower } from "./roles.ts";
import { type HardState, isEmptyHardState, None } from "./types.ts";

/** A node with what its storage holds, as a follower. @throws RaftError if the config is refused. */
export function newRaft(config: Config): Raft {
  const r = new Raft(checkConfig(config));
  const { hardState, confState } = r.config.storage.initialState();
  const last = r.log.lastEntryId();
  restoreConfState(r, confState);
  if (hardState !== undefined && !isEmptyHardState(hardState)) loadHardState(r, hardState);
  if (r.config.applied > 0) r.log.appliedTo(r.config.applied, 0);
  becomeFollower(r, r.term, None);
  r.logger.info(
    () =>
      `newRaft ${hex(r.id)} [peers: [${r.tracker.voterNodes().map(hex).join(",")}], term: ${r.term}, commit: ${r.log.committed}, ` +
      `applied: ${r.log.applied}, lastindex: ${last.index}, lastterm: ${last.term}]`,
  );
  return r;
}

function loadHardState(r: Raft, { term, vote, commit }: HardState): void {
  if (commit < r.log.committed || commit > r.log.lastIndex()) {
    panic(
      r.logger,
      () => `${hex(r.id)} state.commit ${commit} is out of range [${r.log.committed}, ${r.log.lastIndex()}]`,
    );
  }
  r.log.committed = commit;
  r.term = term;
  r.vote = vote;
}
