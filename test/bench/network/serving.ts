/**
 * Runs in a manager's host: prints, for each task that begins or ceases to serve by a committed change, a line of JSON with
 * the moment of that change, as the store noted it before its commit, until its standard input ends.
 */
import { credentials } from "@grpc/grpc-js";
import {
  type Task,
  TaskState,
  timestampMs,
  Watch,
  WatchActionKind,
  WatchRequest,
  WatchRequest_WatchEntry,
} from "@starling/api";
import { RpcClient } from "@starling/api/rpc";

const client = new RpcClient("unix:/run/swarmd.sock", credentials.createInsecure());
const entries = [WatchRequest_WatchEntry.create({ kind: "task", action: WatchActionKind.WATCH_ACTION_UPDATE })];
const request = WatchRequest.create({ entries, includeOldObject: true });
const serves = (task: Task | undefined): boolean =>
  task !== undefined && task.status.state === TaskState.RUNNING && task.desiredState <= TaskState.RUNNING;

process.stdin.on("end", () => process.exit()).resume();
for await (const { events } of client.stream(Watch.methods.watch, request)) {
  if (events.length === 0) console.log(JSON.stringify({ ready: true }));
  for (const { object, oldObject } of events) {
    const now = serves(object?.task);
    const { updatedAt } = object?.task?.meta ?? {};
    if (updatedAt !== undefined && now !== serves(oldObject?.task))
      console.log(JSON.stringify({ at: timestampMs(updatedAt), serves: now }));
  }
}
