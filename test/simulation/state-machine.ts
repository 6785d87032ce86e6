import type { StateMachine } from "@starling/store";
import type { Witness } from "./checkers/index.ts";
import type { Mutant } from "./mutants.ts";

/** The store as raft drives it, with a witness who sees each entry that is applied. */
export function observed(store: StateMachine, witness: Witness, mutant: Mutant | undefined): StateMachine {
  return {
    applyActions(actions, index) {
      store.applyActions(actions, index);
      witness.applied(index);
    },
    reached: (index) => store.reached(index),
    abandonInFlight: (reason) => store.abandonInFlight(reason),
    snapshotParts: () => store.snapshotParts(),
    beginRestore(index) {
      const state = store.beginRestore(index);
      return {
        add: (part) => state.add(mutant?.restore?.(part) ?? part),
        async finish(pause) {
          witness.restoring();
          await state.finish(pause);
          witness.restored();
        },
      };
    },
  };
}
