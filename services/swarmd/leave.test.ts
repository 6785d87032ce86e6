import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { credentials } from "@grpc/grpc-js";
import { Control, LeaveSwarmRequest, ListNodesRequest, NodeSelf } from "@starling/api";
import { RpcClient } from "@starling/api/rpc";
import { FakeClock, nullLogger } from "@starling/base";
import { expect, it, onTestFinished } from "vitest";
import { forgetNode, nodeSelfHandlers } from "./leave.ts";
import { WorkerSocket } from "./local-socket.ts";

function folder(): string {
  const made = mkdtempSync(join(tmpdir(), "starling-leave-"));
  onTestFinished(() => rmSync(made, { recursive: true }));
  return made;
}

/** A node's socket, and what it did when asked to leave. */
async function node(isManager: boolean) {
  const did: string[] = [];
  const path = join(folder(), "swarmd.sock");
  const self = nodeSelfHandlers({
    isManager: () => isManager,
    stopTasks: async () => void did.push("tasks stopped"),
    end: () => void did.push("ends"),
  });
  const socket = new WorkerSocket({ path, self, clock: new FakeClock(), log: nullLogger });
  await socket.open();
  const client = new RpcClient(`unix:${path}`, credentials.createInsecure());
  onTestFinished(async () => {
    client.close();
    await socket.close();
    expect(existsSync(path), "nothing answers there any more").toBe(false);
  });
  const leave = (force: boolean) =>
    client.call(NodeSelf.methods.leave, LeaveSwarmRequest.create({ force }), { timeoutMs: 5_000 });
  return { did, client, leave };
}

it("a worker leaves when its socket is asked: tasks stop first", async () => {
  const { did, leave } = await node(false);
  await leave(false);
  expect(did).toEqual(["tasks stopped", "ends"]);
});

it("a manager leaves only when it is forced", async () => {
  const { did, leave } = await node(true);
  await expect(leave(false)).rejects.toMatchObject({
    code: "FailedPrecondition",
    message: expect.stringContaining("demote it first (swarmctl node demote self)"),
  });
  expect(did).toEqual([]);
  await leave(true);
  expect(did).toEqual(["tasks stopped", "ends"]);
});

it("a worker's socket answers nothing else, and says where it is answered", async () => {
  const { client } = await node(false);
  await expect(
    client.call(Control.methods.listNodes, ListNodesRequest.create(), { timeoutMs: 5_000 }),
  ).rejects.toMatchObject({
    code: "FailedPrecondition",
    message: "this node is not a swarm manager: run this on a manager's host",
  });
});

it("what made the host a node is forgotten; volumes and images stay", async () => {
  const stateDir = folder();
  for (const name of ["certificates", "raft", "worker", "volumes", "images"]) {
    mkdirSync(join(stateDir, name));
    writeFileSync(join(stateDir, name, "file"), "");
  }
  writeFileSync(join(stateDir, "node.json"), "{}");
  await forgetNode(stateDir);
  expect(readdirSync(stateDir).toSorted()).toEqual(["images", "volumes"]);
});
