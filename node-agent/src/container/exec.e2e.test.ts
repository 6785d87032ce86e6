import { readFileSync } from "node:fs";
import {
  ContainerSpec,
  ExecRequest,
  ExecResponse,
  ExecStart,
  LogSubscriptionOptions,
  NodeExec,
  Task,
  TaskSpec,
} from "@starling/api";
import { newId } from "@starling/base";
import { ShimError, type ShimStream } from "@starling/native";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ContainerController } from "./container-controller.ts";
import { ContainerStage } from "./test-stage.ts";

const { signal } = new AbortController();
let stage: ContainerStage;
const idleId = newId();
let idle: ContainerController;

beforeAll(async () => {
  stage = await ContainerStage.open();
  idle = await started("sleep 1000", {}, idleId);
});

afterAll(() => stage?.close());

async function started(script: string, spec: Partial<ContainerSpec> = {}, id = newId()): Promise<ContainerController> {
  const container = ContainerSpec.create({ image: stage.registry.image, command: ["sh", "-c", script], ...spec });
  const of = Task.create({ id, nodeId: "n1", slot: 1, spec: TaskSpec.create({ container }) });
  const controller = stage.executor.controller(of);
  await controller.prepare(signal);
  await controller.start(signal);
  return controller;
}

/** All that it prints, by stream. */
async function outputOf(stream: ShimStream): Promise<{ readonly stdout: string; readonly stderr: string }> {
  const texts = { stdout: "", stderr: "" };
  for await (const { stream: name, data } of stream.output()) texts[name] += Buffer.from(data).toString("utf8");
  return texts;
}

/** Reads until `wanted` was printed. */
async function until(stream: ShimStream, wanted: string): Promise<string> {
  let text = "";
  for await (const { data } of stream.output()) {
    text += Buffer.from(data).toString("utf8");
    if (text.includes(wanted)) break;
  }
  return text;
}

describe("a program run in a container", () => {
  it("has streams and an exit code of its own", async () => {
    const stream = await idle.exec({ args: ["sh", "-c", "echo out; echo err >&2; exit 7"] });
    expect(await outputOf(stream)).toEqual({ stdout: "out\n", stderr: "err\n" });
    expect(await stream.exitCode).toBe(7);
  });

  it("reads what is written, to its end, whatever its size and bytes", async () => {
    const stream = await idle.exec({ args: ["sha256sum"] }, { stdin: true });
    const bytes = Buffer.alloc(3_000_001, Uint8Array.from([0, 255, 10, 200, 128, 1, 2]));
    await stream.write(bytes);
    await stream.end();
    const { createHash } = await import("node:crypto");
    expect((await outputOf(stream)).stdout).toBe(`${createHash("sha256").update(bytes).digest("hex")}  -\n`);
    expect(await stream.exitCode).toBe(0);
    await expect(stream.write(bytes)).rejects.toThrow("has ended");
  });

  it("gives all of a long output to a reader who takes his time", async () => {
    const stream = await idle.exec({ args: ["head", "-c", "20000000", "/dev/zero"] });
    let bytes = 0;
    for await (const { data } of stream.output()) {
      bytes += data.length;
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(bytes).toBe(20_000_000);
  });

  it("has a terminal that takes input, its size, and its keys", async () => {
    const script =
      "trap 'echo interrupted; exit 130' INT; echo up; read line; stty size; tty; echo got $line; cat; echo ended; while :; do sleep 0.02; done";
    const stream = await idle.exec({ args: ["sh", "-c", script], tty: true });
    await until(stream, "up");
    await stream.resize({ rows: 33, columns: 99 });
    await stream.write(Buffer.from("hello\n"));
    const text = await until(stream, "got hello");
    expect(text).toContain("33 99\r\n/dev/pts/0\r\n");
    // End of file ends cat, the interrupt key the shell.
    await stream.end();
    await until(stream, "ended");
    await stream.write(Buffer.from("\x03"));
    expect(await until(stream, "interrupted")).toContain("interrupted");
    expect(await stream.exitCode).toBe(130);
  });

  it("gets signals, and loses its streams with whoever ran it", async () => {
    const script = "trap 'exit 9' USR1; echo up; while :; do sleep 0.02; done";
    const stream = await idle.exec({ args: ["sh", "-c", script] });
    await until(stream, "up");
    await stream.signal(10);
    expect(await stream.exitCode).toBe(9);
    const left = await idle.exec({
      args: ["sh", "-c", "trap 'exit' HUP; while echo x; do sleep 0.02; done"],
      tty: true,
    });
    await until(left, "x");
    expect(await idle.top()).toContain(left.pid);
    left.close();
    while ((await idle.top()).includes(left.pid)) await new Promise((resolve) => setTimeout(resolve, 10));
  });

  it("says what cannot be run", async () => {
    await expect(idle.exec({ args: ["nosuch"] })).rejects.toThrow('"nosuch": executable file not found in $PATH');
    await expect(idle.exec({ args: ["true"], user: "ghost" })).rejects.toThrow("unable to find user ghost");
    const ended = await started("true");
    await ended.wait(signal);
    // Its shim is gone, or about to be.
    await expect(ended.exec({ args: ["true"] })).rejects.toThrow(ShimError);
  });
});

describe("attaching", () => {
  it("shows the container's own output and feeds its input", async () => {
    const controller = await started("while read line; do echo got $line; done; echo done >&2; exit 5", {
      openStdin: true,
    });
    const [one, other] = [await controller.attach(), await controller.attach()];
    await one.write(Buffer.from("a\nb\n"));
    const seen = outputOf(other);
    await one.end();
    expect(await outputOf(one)).toEqual({ stdout: "got a\ngot b\n", stderr: "done\n" });
    expect(await seen).toEqual({ stdout: "got a\ngot b\n", stderr: "done\n" });
    expect(await one.exitCode).toBe(5);
    let log = "";
    for await (const { data } of controller.logs(LogSubscriptionOptions.create(), signal)) log += Buffer.from(data);
    expect(log).toBe("got a\ngot b\ndone\n");
  });

  it("has the container's terminal", async () => {
    const controller = await started("stty -echo; read line; stty size; echo got $line", {
      tty: true,
      openStdin: true,
    });
    const stream = await controller.attach();
    await stream.resize({ rows: 12, columns: 34 });
    await stream.write(Buffer.from("hello\n"));
    expect((await outputOf(stream)).stdout).toContain("12 34\r\ngot hello\r\n");
  });
});

describe("a running container", () => {
  it("tells its processes and what it uses, and rests while it is paused", async () => {
    const controller = await started("while :; do :; done");
    expect(await controller.top()).toHaveLength(1);
    const [pid] = await controller.top();
    await controller.setPaused(true);
    const ticks = () => readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ").slice(11, 13).join();
    const before = ticks();
    const { cpuUsageNs, pids } = (await controller.stats())!;
    expect(pids).toBe(1);
    // Other programs get their turns meanwhile.
    await outputOf(await idle.exec({ args: ["sha256sum", "/bin/busybox"] }));
    expect(ticks()).toBe(before);
    expect((await controller.stats())!.cpuUsageNs).toBe(cpuUsageNs);
    await controller.setPaused(false);
    await controller.terminate(signal);
    expect(await controller.stats()).toBeUndefined();
  });
});

describe("a node that is asked to run a program", () => {
  const method = () => stage.executor.methods.find(({ path }) => path === NodeExec.methods.exec.path)!;

  /** Asks with these requests; what comes back is decoded. */
  async function* ask(
    requests: AsyncIterable<Partial<ExecRequest>> | readonly Partial<ExecRequest>[],
    leaving = new AbortController().signal,
  ): AsyncGenerator<ExecResponse> {
    async function* encoded() {
      for await (const each of requests) yield ExecRequest.encode(ExecRequest.create(each));
    }
    for await (const answer of method().answer(encoded(), leaving)) yield ExecResponse.decode(answer);
  }
  const start = (init: Partial<ExecStart>) => ({ start: ExecStart.create({ taskId: idleId, ...init }) });

  it("gives the terminal each size that it is told", async () => {
    const { readable, writable } = new TransformStream<Partial<ExecRequest>, Partial<ExecRequest>>(
      undefined,
      undefined,
      {
        highWaterMark: 10,
      },
    );
    const sender = writable.getWriter();
    const script = "trap 'stty size; exit 0' WINCH; stty size; while :; do sleep 0.02; done";
    void sender.write(start({ args: ["sh", "-c", script], tty: true, size: { rows: 10, columns: 20 } }));
    let text = "";
    for await (const { stdout, exitCode } of ask(readable as unknown as AsyncIterable<Partial<ExecRequest>>)) {
      text += Buffer.from(stdout ?? []).toString();
      if (text === "10 20\r\n") void sender.write({ resize: { rows: 33, columns: 99 } });
      if (exitCode !== undefined) expect(exitCode).toBe(0);
    }
    expect(text).toBe("10 20\r\n33 99\r\n");
  });

  it("takes the program's streams away when the asking one leaves", async () => {
    const leaving = new AbortController();
    const before = (await idle.top()).length;
    const answers = ask([start({ args: ["sh", "-c", "while echo x; do sleep 0.02; done"] })], leaving.signal);
    for await (const { stdout } of answers) if (stdout) leaving.abort();
    await expect.poll(async () => (await idle.top()).length).toBe(before);
  });

  it.each<[string, Partial<ExecRequest>[], string]>([
    ["nothing", [], "the first request must be a start"],
    ["input before the start", [{ stdin: new Uint8Array(1) }], "the first request must be a start"],
    ["a task whose id is a path", [start({ taskId: "../x", args: ["true"] })], "task_id"],
    ["a task that is not here", [start({ taskId: "nosuch", args: ["true"] })], "no container on this node"],
    ["no program", [start({})], "name a program"],
    ["a variable without a name", [start({ args: ["true"], env: ["=x"] })], "write NAME=value"],
    ["more than a kernel takes", [start({ args: ["echo", "x".repeat(200_000)] })], "over 131072 bytes"],
    ["a NUL byte", [start({ args: ["true", "a\0b"] })], "a NUL byte"],
  ])("refuses %s", async (_what, requests, message) => {
    await expect(ask(requests).next()).rejects.toThrow(message);
  });
});
