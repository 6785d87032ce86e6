import { mkdirSync, readdirSync, realpathSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { defaultSeccompProgram } from "@starling/node-agent";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createContainer, killLeftovers, Shim } from "../shim.ts";
import { Bundle, type Config } from "./bundle.fixture.ts";

/**
 * Known ways out of a container. Each is first tried with its protection off, by a config that no task of a cluster can
 * have, to show that the attempt would succeed; then with it on.
 */
let bundle: Bundle;
beforeAll(() => {
  bundle = new Bundle();
});
afterAll(() => bundle?.remove());

type Change = (config: Config) => void;
const output = (script: string, change?: Change) => bundle.run(bundle.config(script, change)).out;
const withCapability =
  (name: string): Change =>
  (c) => {
    for (const set of ["bounding", "permitted", "effective"]) c["process"].capabilities[set].push(name);
  };

describe("kernel interfaces", () => {
  it("release agents of cgroups cannot be reached (CVE-2022-0492)", () => {
    // Mounted only: what is written there counts for the whole machine.
    const script = "mount -t cgroup -o none,name=systemd x /tmp 2>/dev/null && ls /tmp | grep release_agent";
    expect(output(script, withCapability("CAP_SYS_ADMIN"))).toBe("release_agent\n");
    expect(output(script)).toBe("");
    // Shown by the runtime, the groups are read-only and not at their root.
    const shown: Change = (c) => {
      c["mounts"].push({ destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup", options: ["ro"] });
    };
    const look = "ls /sys/fs/cgroup/*/release_agent 2>/dev/null; mkdir /sys/fs/cgroup/pids/x 2>/dev/null && echo made";
    expect(output(look, shown)).toBe("");
  });

  it("settings of the host cannot be written through /proc/sys", () => {
    const script = "(: >> /proc/sys/vm/swappiness) 2>/dev/null && echo open";
    expect(output(script, (c) => (c["linux"].readonlyPaths = []))).toBe("open\n");
    expect(output(script)).toBe("");
  });

  it("devices of the host cannot be opened through a node of one's own", () => {
    // /dev/fuse stands for disks, which the machines of tests may not open either.
    const script = "mknod /tmp/node c 10 229; (: <> /tmp/node) 2>/dev/null && echo open; busybox rm /tmp/node";
    const all: Change = (c) => {
      c["linux"].resources = { devices: [{ allow: true, access: "rwm" }] };
    };
    expect(output(script, all)).toBe("open\n");
    expect(output(script)).toBe("");
  });
});

describe("links in the image", () => {
  it("a mount's target behind a link stays inside the root (CVE-2021-30465)", () => {
    const outside = join(bundle.folder, "outside");
    mkdirSync(outside);
    symlinkSync(outside, join(bundle.folder, "rootfs/trap"));
    // What a runtime that goes by names would mount on.
    expect(realpathSync(join(bundle.folder, "rootfs/trap"))).toBe(outside);
    const trapped: Change = (c) => c["mounts"].push({ destination: "/trap/in", type: "tmpfs", source: "tmpfs" });
    expect(output("grep -c /in /proc/mounts", trapped)).toBe("1\n");
    expect(readdirSync(outside)).toEqual([]);
    rmSync(join(bundle.folder, "rootfs/trap"));
  });

  it("what the image has at /dev/null is not what masks (CVE-2025-31133)", () => {
    rmSync(join(bundle.folder, "rootfs/dev"), { recursive: true });
    mkdirSync(join(bundle.folder, "rootfs/dev"));
    symlinkSync("/proc/sys/kernel/core_pattern", join(bundle.folder, "rootfs/dev/null"));
    const own: Change = (c) => {
      c["mounts"] = c["mounts"].filter((mount: { destination: string }) => !mount.destination.startsWith("/dev"));
      c["mounts"].push({ destination: "/dev", type: "bind", source: "rootfs/dev", options: ["bind"] });
    };
    // A runtime that binds the name would give the container the file behind the link.
    expect(output("ls -l /dev/null | grep -c core_pattern", own)).toBe("1\n");
    expect(output("stat -c '%F %t:%T' /proc/keys", own)).toBe("character special file 1:3\n");
    rmSync(join(bundle.folder, "rootfs/dev/null"));
  });

  it("/proc and /sys that are links are refused", () => {
    symlinkSync("/tmp", join(bundle.folder, "rootfs/fake"));
    const outcome = bundle.run(bundle.config("true", (c) => (c["mounts"][0].destination = "/fake")));
    expect(outcome).toMatchObject({ code: 1, err: expect.stringContaining("must not be a symbolic link") });
    rmSync(join(bundle.folder, "rootfs/fake"));
  });
});

describe("descriptors of the host (CVE-2024-21626)", () => {
  const run = (words: string, cwd: string) => {
    const file = bundle.write(
      bundle.config("pwd; ls /proc/self/fd/3 2>/dev/null | grep -c rootfs", (c) => (c["process"].cwd = cwd)),
      "leak.json",
    );
    return bundle.shell(
      `exec ${bundle.command} run -b ${bundle.folder} -f ${file} ${words} starling-leak-${process.pid} 3<${bundle.folder}`,
    );
  };

  it("one that is handed on leads to the host; else none is there", () => {
    expect(run("--preserve-fds 1", "/").out).toBe("/\n1\n");
    expect(run("", "/").out).toBe("/\n0\n");
  });

  it("a working folder that lies outside is refused, even through one that is handed on", () => {
    for (const words of ["", "--preserve-fds 1"]) {
      for (let fd = 3; fd < 12; fd++) {
        const outcome = run(words, `/proc/self/fd/${fd}`);
        // Some numbers are the runtime's own descriptors of what is inside the root.
        if (fd === 3) expect(outcome.err).toContain("process.cwd");
        expect(outcome.out).toMatch(/^(\/[^\n]*\n[01]\n)?$/);
        expect(outcome.out).not.toContain(bundle.folder);
      }
    }
  });
});

describe("more than its share", () => {
  it("a fork bomb ends at the pids limit", () => {
    // Counted by the shell itself: behind the limit it can start nothing.
    const script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 100 & done 2>/dev/null; set -- /proc/[0-9]*; echo $#";
    expect(output(script)).toBe("13\n");
    const limited = output(script, (c) => (c["linux"].resources = { pids: { limit: 6 } }));
    expect(Number(limited.trim() || "0")).toBeLessThanOrEqual(6);
  });

  it("memory ends at its limit: the program is killed, not the host", () => {
    const script = "busybox dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null; echo $?";
    expect(output(script)).toBe("0\n");
    const limited = output(script, (c) => (c["linux"].resources = { memory: { limit: 16 * 2 ** 20 } }));
    expect(limited).toBe("137\n");
  });
});

it("unshare of a user namespace needs the shim's filter off", async () => {
  const folder = join(bundle.folder, "shim");
  mkdirSync(folder);
  const seccompProgram = defaultSeccompProgram({ architecture: process.arch, capabilities: [] });
  const spec = {
    version: 1,
    id: "safety",
    hostname: "safety",
    process: { args: ["/bin/sleep", "1000"], env: ["PATH=/bin"], capabilities: [], seccompProgram },
    root: { folder: join(bundle.folder, "rootfs") },
    cgroup: { name: `starling-safety-${process.pid}` },
  };
  bundle.write(spec, "shim/spec.json");
  await createContainer(folder);
  const shim = await Shim.connect(folder);
  try {
    await shim?.start();
    const attempt = async (seccomp: boolean) =>
      (await shim?.exec({ args: ["busybox", "unshare", "-U", "echo", "out"], seccomp, seccompProgram }))?.output;
    expect(await attempt(false)).toBe("out\n");
    expect(await attempt(true)).toMatch(/unshare.*Operation not permitted/);
  } finally {
    await shim?.kill();
    await killLeftovers(folder);
  }
});
