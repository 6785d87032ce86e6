import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { nativeTool } from "../paths.ts";
import { Bundle, type Config } from "./bundle.fixture.ts";

let bundle: Bundle;
let count = 0;
const newId = () => `starling-run-${process.pid}-${++count}`;

beforeAll(() => {
  bundle = new Bundle();
});
afterAll(() => {
  for (const id of existsSync(bundle.root) ? bundle.containers() : []) bundle.ours("delete", "--force", id);
  bundle?.remove();
});

/** A created container of `script`. */
function created(script: string, change?: (config: Config) => void): string {
  const id = newId();
  const file = bundle.write(bundle.config(script, change), `${id}.json`);
  expect(bundle.ours("create", "-b", bundle.folder, "-f", file, id)).toMatchObject({ code: 0, err: "" });
  return id;
}
const state = (id: string) => JSON.parse(bundle.ours("state", id).out) as Record<string, unknown>;
const codes = (...outcomes: readonly { code: number | null }[]) => outcomes.map(({ code }) => code);

/** Takes a terminal from the socket that it is given and prints what comes out of it, to its end. */
const receiveTerminal = `
import array, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
print("listening", flush=True)
message, control, _, _ = server.accept()[0].recvmsg(256, socket.CMSG_SPACE(4))
terminal = array.array("i", control[0][2])[0]
while True:
    try:
        text = os.read(terminal, 4096)
    except OSError:
        break
    if not text:
        break
    os.write(1, text)
`;

/** Waits for the container's init to be gone. */
async function ended(id: string): Promise<void> {
  while (state(id)["status"] !== "stopped") await new Promise((resolve) => setTimeout(resolve, 10));
}

describe("a container's life", () => {
  it("goes from created over running to stopped, and refuses what does not fit its state", async () => {
    const id = created("sleep 1000", (c) => {
      c["annotations"] = { "org.example": "x" };
      c["process"].args = ["/bin/sleep", "1000"];
    });
    const shown = state(id);
    expect(shown).toMatchObject({ id, status: "created", bundle: bundle.folder, annotations: { "org.example": "x" } });
    expect(readFileSync(`/proc/${shown["pid"]}/cgroup`, "utf8")).toContain(id);
    expect(bundle.ours("create", "-b", bundle.folder, "-f", join(bundle.folder, `${id}.json`), id)).toMatchObject({
      code: 1,
      err: `starling-run: container \`${id}\` exists already\n`,
    });
    expect(codes(bundle.ours("start", id), bundle.ours("start", id))).toEqual([0, 1]);
    expect(state(id)["status"]).toBe("running");
    expect(bundle.ours("delete", id)).toMatchObject({ code: 1 });
    expect(bundle.ours("ps", id).out).toBe(`PID\n${shown["pid"]}\n`);
    expect(bundle.ours("list", "-q").out).toBe(`${id}\n`);
    expect(codes(bundle.ours("kill", id, "NOSUCH"), bundle.ours("kill", id, "KILL"))).toEqual([1, 0]);
    await ended(id);
    expect(state(id)).not.toHaveProperty("pid");
    expect(codes(bundle.ours("kill", id), bundle.ours("exec", id, "true"), bundle.ours("start", id))).toEqual([
      1, 1, 1,
    ]);
    expect(codes(bundle.ours("delete", id), bundle.ours("delete", id), bundle.ours("delete", "--force", id))).toEqual([
      0, 1, 0,
    ]);
    expect(bundle.containers()).toEqual([]);
  });

  it("deletes by force what runs, with processes and cgroups that they made", () => {
    const id = created("sleep 1000 & sleep 1000 & wait");
    bundle.ours("start", id);
    const { pid } = state(id);
    const group = readFileSync(`/proc/${pid}/cgroup`, "utf8").match(/pids:(.*)/)?.[1] ?? "";
    mkdirSync(`/sys/fs/cgroup/pids${group}/below`, { recursive: true });
    expect(bundle.ours("delete", "--force", id)).toMatchObject({ code: 0, err: "" });
    expect(existsSync(`/sys/fs/cgroup/pids${group}`)).toBe(false);
  });

  it("pauses and resumes", () => {
    const id = created("sleep 1000");
    bundle.ours("start", id);
    expect(codes(bundle.ours("pause", id))).toEqual([0]);
    expect(state(id)["status"]).toBe("paused");
    expect(codes(bundle.ours("pause", id), bundle.ours("exec", id, "true"), bundle.ours("resume", id))).toEqual([
      1, 1, 0,
    ]);
    expect(codes(bundle.ours("exec", id, "true"), bundle.ours("delete", "-f", id))).toEqual([0, 0]);
  });

  it("keeps to the config as it was at create", () => {
    const id = created("sleep 1000");
    rmSync(join(bundle.folder, `${id}.json`));
    expect(codes(bundle.ours("start", id), bundle.ours("delete", "-f", id))).toEqual([0, 0]);
  });

  it("leaves nothing when create or start fails", () => {
    const before = readdirSync("/sys/fs/cgroup/pids").length;
    expect(bundle.run(bundle.config("", (c) => (c["process"].args = ["/no/such"])))).toMatchObject({ code: 1 });
    expect(bundle.run(bundle.config("", (c) => (c["mounts"][0].type = "nofs")))).toMatchObject({ code: 1 });
    writeFileSync(join(bundle.folder, "rootfs/bin/text"), "no program", { mode: 0o755 });
    expect(bundle.run(bundle.config("", (c) => (c["process"].args = ["/bin/text"])))).toMatchObject({ code: 1 });
    expect(bundle.containers()).toEqual([]);
    expect(readdirSync("/sys/fs/cgroup/pids").length).toBe(before);
  });
});

describe("hooks", () => {
  it("are run at their points, in their namespaces, with the state on stdin", () => {
    const log = join(bundle.folder, "hooks.log");
    const host = (name: string) => ({
      path: "/bin/sh",
      args: ["sh", "-c", `echo "$NAME $(readlink /proc/self/ns/uts) $(cat)" >> ${log}`],
      env: [`NAME=${name}`, "PATH=/bin:/usr/bin"],
      timeout: 60,
    });
    const config = bundle.config("echo program >> /data/inside", (c) => {
      c["hooks"] = {
        prestart: [host("prestart")],
        createRuntime: [host("createRuntime")],
        createContainer: [host("createContainer")],
        startContainer: [
          { path: "/bin/sh", args: ["sh", "-c", "cat > /data/inside; echo >> /data/inside"], env: ["PATH=/bin"] },
        ],
        poststart: [host("poststart")],
        poststop: [host("poststop"), host("second poststop")],
      };
    });
    expect(bundle.run(config)).toMatchObject({ code: 0, err: "" });
    const lines = readFileSync(log, "utf8").trim().split("\n");
    const parsed = lines.map((line) => /^(.*) uts:\[(\d+)\] (.*)$/.exec(line) ?? []);
    const own = parsed[0]?.[2];
    const shown = parsed.map(([, name, uts, text]) => [name, uts === own, JSON.parse(text ?? "").status]);
    expect(shown).toEqual([
      ["prestart", true, "creating"],
      ["createRuntime", true, "creating"],
      ["createContainer", false, "creating"],
      ["poststart", true, "running"],
      ["poststop", true, "stopped"],
      ["second poststop", true, "stopped"],
    ]);
    const [started, program] = readFileSync(join(bundle.folder, "rootfs/data/inside"), "utf8").split("\n");
    expect(JSON.parse(started ?? "")).toMatchObject({ status: "created", pid: 1 });
    expect(program).toBe("program");
  });

  it("that take longer than their timeout end the create", () => {
    const slow = { path: "/bin/sleep", args: ["sleep", "1000"], timeout: 1 };
    const outcome = bundle.run(bundle.config("true", (c) => (c["hooks"] = { createRuntime: [slow] })));
    expect(outcome).toMatchObject({
      code: 255,
      err: "starling-run: hooks.createRuntime `/bin/sleep`: ran longer than 1 s\n",
    });
    expect(bundle.containers()).toEqual([]);
  });
});

describe("exec", () => {
  it("runs programs as the config's process, changed by options or replaced by a file", () => {
    const id = created("sleep 1000", (c) => c["linux"].namespaces.push({ type: "cgroup" }));
    bundle.ours("start", id);
    const script = "echo $A; pwd; id -u; id -g; hostname; grep -c sleep /proc/1/cmdline; exit 5";
    const words = ["-e", "A=b", "--cwd", "/tmp", "--user", "1000:7", id, "sh", "-c", script];
    expect(bundle.ours("exec", ...words)).toEqual({ code: 5, out: "b\n/tmp\n1000\n7\nbox\n1\n", err: "" });
    expect(codes(bundle.ours("exec", id, "/no/such"), bundle.ours("exec", id, "sh", "-c", "kill -9 $$"))).toEqual([
      255, 137,
    ]);
    const file = bundle.write(
      { cwd: "/", args: ["echo", "by file"], user: { uid: 0, gid: 0 }, env: ["PATH=/bin"] },
      "process.json",
    );
    expect(bundle.ours("exec", "--process", file, id)).toMatchObject({ code: 0, out: "by file\n" });
    const pidFile = join(bundle.folder, "exec.pid");
    expect(bundle.ours("exec", "-d", "--pid-file", pidFile, id, "sleep", "999")).toMatchObject({ code: 0 });
    expect(bundle.ours("ps", "-f", "json", id).out).toContain(readFileSync(pidFile, "utf8"));
    expect(bundle.ours("exec", "-t", id, "tty").out).toMatch(/^\/dev\/pts\/\d/);
    expect(bundle.ours("kill", "--all", id, "KILL")).toMatchObject({ code: 0 });
    bundle.ours("delete", "-f", id);
  });
});

describe("terminals and descriptors", () => {
  it("send the terminal to the console socket, and join it to `run` in the foreground", async () => {
    const path = join(bundle.folder, "console.sock");
    const receiver = spawn("python3", ["-c", receiveTerminal, path], { stdio: ["ignore", "pipe", "inherit"] });
    let received = "";
    receiver.stdout.setEncoding("utf8").on("data", (text: string) => {
      received += text;
    });
    await once(receiver.stdout, "data");
    const config = bundle.config("tty; stat -c %F /dev/console; busybox stty size", (c) => {
      c["process"].terminal = true;
      c["process"].consoleSize = { height: 33, width: 44 };
    });
    const file = bundle.write(config, "terminal.json");
    const id = newId();
    const words = ["run", "-d", "-b", bundle.folder, "-f", file, "--console-socket", path, id];
    expect(bundle.ours(...words)).toMatchObject({ code: 0, err: "" });
    await once(receiver, "close");
    expect(received).toBe("listening\n/dev/pts/0\r\ncharacter special file\r\n33 44\r\n");
    await ended(id);
    bundle.ours("delete", id);
    const joined = bundle.run(config);
    expect(joined).toMatchObject({ code: 0, out: "/dev/pts/0\r\ncharacter special file\r\n33 44\r\n" });
    expect(bundle.ours("create", "-b", bundle.folder, "-f", file, newId())).toMatchObject({ code: 1 });
  });

  it("--preserve-fds hands on exactly those descriptors", () => {
    const file = bundle.write(
      bundle.config("ls /proc/self/fd | sort -n | tr '\\n' ' '; cat <&3", (c) => (c["process"].args[0] = "/bin/sh")),
      "fds.json",
    );
    const script = `exec ${nativeTool("starling-run")} --root ${bundle.root} run -b ${bundle.folder} -f ${file} --preserve-fds 1 ${newId()} 3</etc/hostname 4</etc/hostname`;
    const outcome = bundle.shell(script);
    expect(outcome.err).toBe("");
    expect(outcome.out).toContain(readFileSync("/etc/hostname", "utf8"));
    expect(outcome.out).toMatch(/^0 1 2 3 /);
    expect(outcome.out).not.toMatch(/ 5 /);
  });
});
