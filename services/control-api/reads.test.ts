import * as api from "@starling/api";
import { anonymous, type CallContext } from "@starling/api/rpc";
import { FakeClock, nullLogger, SwarmError } from "@starling/base";
import { MemoryStore } from "@starling/store";
import { FakeProposer } from "@starling/store/testing";
import { expect, it } from "vitest";
import { createControlHandlers } from "./index.ts";

const context = {
  caller: anonymous,
  signal: new AbortController().signal,
  remoteAddress: "",
  metadata: {},
} as unknown as CallContext;

const id = "x";
/** One object of every kind, all under the same id. */
const objects = {
  clusters: api.Cluster,
  configs: api.Config,
  extensions: api.Extension,
  networks: api.Network,
  nodes: api.Node,
  resources: api.Resource,
  secrets: api.Secret,
  services: api.Service,
  tasks: api.Task,
  volumes: api.Volume,
} as const;

/** Every read of the Control API asks for `id`. */
const request = new Proxy({}, { get: (_, field) => fields(String(field)) });
function fields(field: string): unknown {
  if (field === "services") return [id];
  return field.endsWith("Id") ? id : undefined;
}

function setUp() {
  const proposer = new FakeProposer(10);
  const clock = new FakeClock();
  const store = new MemoryStore({ proposer, clock });
  return { proposer, store, api: createControlHandlers({ store, clock, log: nullLogger }) };
}

const reads = Object.keys(setUp().api).filter((method) => /^(get|list)/.test(method)) as "listNodes"[];

it("knows every read of the Control API", () => {
  const methods = Object.keys(api.Control.methods).filter((method) => /^(get|list)/.test(method));
  expect(reads.toSorted()).toEqual(methods.toSorted());
  expect(reads.length).toBeGreaterThanOrEqual(20);
});

it.each(reads)("%s answers when a leader has confirmed, with what was committed by then", async (method) => {
  const { proposer, store, api: control } = setUp();
  let settled = false;
  const answer = control[method](request as never, context).finally(() => {
    settled = true;
  });
  store
    .update((tx) => {
      for (const [table, codec] of Object.entries(objects)) {
        tx[table as "nodes"].create((codec as typeof api.Node).create({ id }));
      }
    })
    .catch(() => {});
  proposer.commit();
  await new Promise((resolve) => setImmediate(resolve));
  expect(settled).toBe(false);
  expect(proposer.reads).toHaveLength(1);
  proposer.confirmReads();
  expect(JSON.stringify(await answer)).toContain(`"${id}"`);
});

it.each(reads)("%s is refused by a leader that nobody follows any more", async (method) => {
  const { proposer, api: control } = setUp();
  const answer = control[method](request as never, context);
  proposer.refuse();
  const error = await answer.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(SwarmError);
  expect((error as SwarmError).code).toBe("Unavailable");
});
