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
    abandonInFlight: (reason) => store.abandonInFlight(reason),
    snapshot: () => store.snapshot(),
    restore(snapshot) {
      witness.restoring();
      store.restore(mutant?.restore?.(snapshot) ?? snapshot);
      witness.restored();
    },
  };
}
