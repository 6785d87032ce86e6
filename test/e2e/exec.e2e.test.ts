import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type Host, until } from "../cluster/index.ts";
import { repositoryRoot } from "../cluster/paths.ts";
import { Stage } from "./stage.ts";

/** Commands in containers on other hosts, through managers that do not lead. */
describe("exec", () => {
  let stage: Stage;
  let console_: Host;

  beforeAll(async () => {
    stage = await Stage.open("exec", ["m1", "m2", "m3", "w1"]);
    const leader = await stage.swarm.leader();
    console_ = stage.swarm.members().find((host) => /^m/.test(host.name) && host !== leader)!;
    await stage.create(
      "box",
      ["--constraint", "node.hostname==w1", "--env", "A=1"],
      stage.image("tools"),
      "sleep",
      "1000",
    );
    await stage.running("box", 1);
  });
  afterAll(() => stage?.close());
  beforeEach(() => stage.showLogsOnFailure());

  const exec = (words: readonly string[], input?: string) =>
    stage.swarm.ctl([...words], { on: console_, ...(input !== undefined && { input }) });

  it("passes on output, errors and the exit code", async () => {
    const script = "echo out; echo err >&2; exit 7";
    expect(await exec(["service", "exec", "box", "sh", "-c", script])).toMatchObject({
      code: 7,
      stdout: "out\n",
      stderr: "err\n",
    });
    const [task] = await stage.running("box", 1);
    for (const reference of [task!.id, "box.1"]) {
      expect(await exec(["task", "exec", reference, "true"])).toMatchObject({ code: 0, stdout: "", stderr: "" });
    }
  });

  it("feeds standard input to its end", async () => {
    const input = "0123456789abcdef\n".repeat(50_000);
    const { stdout } = await exec(["service", "exec", "-i", "box", "sha256sum"], input);
    expect(stdout).toBe(`${createHash("sha256").update(input).digest("hex")}  -\n`);
    expect((await exec(["service", "exec", "box", "cat"], input)).stdout).toBe("");
  });

  it("has the container's environment, and what is given on top", async () => {
    const words = [
      "service",
      "exec",
      "-e",
      "B=2",
      "-u",
      "65534",
      "-w",
      "/tmp",
      "box",
      "sh",
      "-c",
      "echo $A $B $(id -u) $PWD",
    ];
    expect((await exec(words)).stdout).toBe("1 2 65534 /tmp\n");
  });

  it("leaves a detached command running, without streams", async () => {
    const script =
      "echo lost; echo lost >&2; trap 'echo ended > /tmp/ended; exit' USR1; while :; do echo lost; sleep 0.05; done";
    expect(await exec(["service", "exec", "-d", "box", "sh", "-c", `echo $$ > /tmp/pid; ${script}`])).toEqual({
      code: 0,
      stdout: "",
      stderr: "",
    });
    const inside = (text: string) => exec(["service", "exec", "box", "sh", "-c", text]);
    await until("it has begun", async () => (await inside("test -s /tmp/pid")).code === 0);
    // It writes all the while: a lost stream would have ended it.
    expect(await inside("kill -USR1 $(cat /tmp/pid)")).toMatchObject({ code: 0 });
    await until("it heard the signal", async () => (await inside("cat /tmp/ended")).stdout === "ended\n");
    expect(await exec(["service", "exec", "-d", "box", "nosuch"])).toMatchObject({ code: 127 });
    expect(await exec(["service", "exec", "-d", "-i", "box", "cat"])).toMatchObject({ code: 2 });
  });

  it("gives a privileged command what the container has not", async () => {
    const script =
      "hostname other 2>/dev/null && echo may || echo may not; grep -E 'NoNewPrivs|Seccomp:' /proc/self/status";
    const plain = (await exec(["service", "exec", "box", "sh", "-c", script])).stdout;
    expect(plain.replaceAll("\t", " ")).toBe("may not\nNoNewPrivs: 1\nSeccomp: 2\n");
    const { stdout } = await exec(["service", "exec", "--privileged", "box", "sh", "-c", script]);
    expect(stdout.replaceAll("\t", " ")).toBe("may\nNoNewPrivs: 0\nSeccomp: 0\n");
  });

  it("says what cannot be run, with a shell's exit codes", async () => {
    const missing = await exec(["service", "exec", "box", "nosuch"]);
    expect(missing).toMatchObject({ code: 127, stderr: expect.stringMatching(/^Error: .*"nosuch".*not found/) });
    expect(await exec(["service", "exec", "box", "/tmp"])).toMatchObject({ code: 126 });
    expect(await exec(["task", "exec", "nowhere", "true"])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("not found"),
    });
    expect(await exec(["service", "exec", "--slot", "2", "box", "true"])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("slot 2 of service box has no task that runs"),
    });
    expect(await exec(["service", "exec", "-it", "box", "sh"], "x")).toMatchObject({ code: 2 });
  });

  it("gives the command a terminal of the size of one's own, and the keys that are typed", async () => {
    const node = join(repositoryRoot, "node_modules/.bin/node");
    const swarmctl = `${node} ${join(repositoryRoot, "services/swarmctl/main.ts")} --socket /run/swarmd.sock`;
    const inside =
      'stty size; tty; echo "[$TERM]"; trap "echo interrupted; exit 3" INT; echo ready; while :; do read x; echo "got $x"; done';
    const file = join(console_.stateFolder, "terminal.sh");
    writeFileSync(file, `stty rows 33 cols 99\nexec ${swarmctl} service exec -it box sh -c '${inside}'\n`);
    const session = await console_.spawn(["script", "-qec", "sh /var/lib/swarmd/terminal.sh", "/dev/null"]);
    let shown = "";
    session.child.stdout!.on("data", (chunk: Buffer) => {
      shown += chunk.toString();
    });
    const shows = (text: string) => until(`the terminal shows ${text}`, () => shown.includes(text));
    await shows("ready");
    expect(shown).toContain("33 99\r\n/dev/pts/0\r\n[xterm]\r\n");
    session.child.stdin!.write("hello\r");
    await shows("got hello");
    session.child.stdin!.write("\x03");
    await shows("interrupted");
    expect(await session.exited).toBe(3);
  });

  it("passes signals on to the command", async () => {
    const node = join(repositoryRoot, "node_modules/.bin/node");
    const script = "trap 'exit 9' USR1; echo up; while :; do sleep 0.02; done";
    const swarmctl = [node, join(repositoryRoot, "services/swarmctl/main.ts"), "--socket", "/run/swarmd.sock"];
    const own = 'echo $$; exec "$0" "$@"';
    const session = await console_.spawn(["sh", "-c", own, ...swarmctl, "service", "exec", "box", "sh", "-c", script]);
    let shown = "";
    session.child.stdout!.on("data", (chunk: Buffer) => {
      shown += chunk.toString();
    });
    await until("the command runs", () => shown.includes("up"));
    await console_.mustExec(["kill", "-USR1", shown.split("\n")[0]!]);
    expect(await session.exited).toBe(9);
  });
});
