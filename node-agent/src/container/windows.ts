/** Pure: no clock, no I/O, no randomness. */
import { type ContainerSpec, ContainerSpec_Isolation } from "@starling/api";
import { FatalTaskError } from "../exec/controller.ts";

/** Throws FatalTaskError for what only Windows nodes can give: it would else be left out silently. */
export function refuseWindowsOptions({ isolation, privileges }: ContainerSpec): void {
  if (isolation === ContainerSpec_Isolation.ISOLATION_HYPERV) {
    throw new FatalTaskError("isolation hyperv: this node runs Linux: leave --isolation out");
  }
  if (privileges?.credentialSpec !== undefined) {
    throw new FatalTaskError("credential spec: this node runs Linux: leave --credential-spec out");
  }
}
