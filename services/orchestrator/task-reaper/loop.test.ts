import {
  Cluster,
  ClusterSpec,
  OrchestrationConfig,
  Service,
  Task,
  TaskState,
  TaskStatus,
  timestampOfMs,
  UpdateStatus,
  UpdateStatus_UpdateState,
} from "@starling/api";
import { FakeClock, nullLogger } from "@starling/base";
import { MemoryStore } from "@starling/store";
import { afterEach, beforeEach, expect, it } from "vitest";
import { createTaskReaper } from "./loop.ts";

const { FAILED, RUNNING, READY, SHUTDOWN, REMOVE } = TaskState;
let clock: FakeClock;
let store: MemoryStore;
let stop: AbortController;
let running: Promise<void>;

beforeEach(async () => {
  clock = new FakeClock();
  store = new MemoryStore({ clock });
  const orchestration = OrchestrationConfig.create({ taskHistoryRetentionLimit: 0 });
  const spec = { ...ClusterSpec.create(), orchestration };
  await store.update((tx) => tx.clusters.create(Cluster.create({ id: "c", spec })));
});
afterEach(async () => {
  stop.abort();
  await clock.advance(1_000);
  await running;
});

function start(): void {
  stop = new AbortController();
  running = createTaskReaper({ store, clock, log: nullLogger }).run(stop.signal);
}

async function make(id: string, state: TaskState, desiredState: TaskState): Promise<void> {
  const status = TaskStatus.create({ state, timestamp: timestampOfMs(clock.now()) });
  await store.update((tx) => tx.tasks.create(Task.create({ id, serviceId: "s", slot: 1, status, desiredState })));
  await clock.advance(1);
}

async function desire(id: string, desiredState: TaskState): Promise<void> {
  await store.update((tx) => tx.tasks.update({ ...tx.tasks.get(id)!, desiredState }));
  await clock.advance(1_000);
}

const ids = () => store.view((tx) => tx.tasks.find().map(({ id }) => id));

it("keeps the failed task until the held one that follows it has been started", async () => {
  start();
  await make("a", FAILED, SHUTDOWN);
  await make("b", READY, READY);
  await clock.advance(1_000);
  expect(ids()).toEqual(["a", "b"]);
  await desire("b", RUNNING);
  expect(ids()).toEqual(["b"]);
});

it("keeps what an update counts until that has ended", async () => {
  start();
  const begun = { startedAt: timestampOfMs(clock.now()), state: UpdateStatus_UpdateState.UPDATING };
  const service = Service.create({ id: "s", updateStatus: UpdateStatus.create(begun) });
  await store.update((tx) => tx.services.create(service));
  await make("a", FAILED, SHUTDOWN);
  await make("b", FAILED, SHUTDOWN);
  await make("c", RUNNING, RUNNING);
  await clock.advance(1_000);
  expect(ids()).toEqual(["a", "b", "c"]);
  const ended = UpdateStatus.create({ ...begun, state: UpdateStatus_UpdateState.COMPLETED });
  await store.update((tx) => tx.services.update({ ...tx.services.get("s")!, updateStatus: ended }));
  await clock.advance(1_000);
  expect(ids()).toEqual(["c"]);
});

it("finds what was left when it starts", async () => {
  await make("a", FAILED, SHUTDOWN);
  await make("b", RUNNING, RUNNING);
  await make("c", FAILED, REMOVE);
  start();
  await clock.advance(1_000);
  expect(ids()).toEqual(["b"]);
});
