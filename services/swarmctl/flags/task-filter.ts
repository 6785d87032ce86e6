import { TaskState } from "@starling/api";
import type { GrpcClient } from "../client/grpc-client.ts";
import { resolveNode } from "../client/resolve.ts";
import { choose, inFlag } from "./values.ts";

const states = choose<readonly TaskState[]>({
  running: [TaskState.READY, TaskState.RUNNING],
  complete: [TaskState.COMPLETE],
  shutdown: [TaskState.SHUTDOWN, TaskState.REMOVE],
  accepted: [TaskState.ACCEPTED],
});

/** The states that `--filter desired-state=…` means; none for no filter. */
export function desiredStates(word: string | undefined): readonly TaskState[] {
  return word === undefined ? [] : inFlag("--filter desired-state", () => states(word));
}

/** The ids that `--filter node=…` means; none for no filter. */
export async function nodeFilter(client: GrpcClient, reference: string | undefined): Promise<readonly string[]> {
  return reference === undefined ? [] : [(await resolveNode(client, reference)).id];
}
