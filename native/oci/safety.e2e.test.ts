import { spawnSync } from "node:child_process";
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { nativeTool } from "../paths.ts";
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

describe("the runtime's own program (CVE-2019-5736)", () => {
  it("cannot be written by a container that gets hold of it while it runs inside", async () => {
    const runtime = join(bundle.folder, "runtime");
    const original = readFileSync(nativeTool("starling-run"));
    // Takes the file of whatever runs here that is not busybox, ends it, and writes once nobody runs the file any more.
    const overwrite = `exec 2>/tmp/err; until [ -s /tmp/state ]; do for q in /proc/[0-9]*; do
        command exec 3<$q/exe || continue
        case $(busybox readlink /proc/self/fd/3) in */busybox|"") ;; *) kill -9 \${q#/proc/}; echo caught >/tmp/state; break;; esac
      done; done
      until echo overwritten >/proc/self/fd/3 || grep -q Read-only /tmp/err; do : >/tmp/err; done; echo over >/tmp/state; exec sleep 1000`;
    const attempt = (program: string, change: Change) => {
      writeFileSync(runtime, original, { mode: 0o755 });
      const file = bundle.write(bundle.config(overwrite, change), "overwrite.json");
      const id = `starling-overwrite-${process.pid}`;
      const command = `${runtime} --root ${bundle.root}`;
      const script = `${command} run -d -b ${bundle.folder} -f ${file} ${id} >/dev/null 2>&1 </dev/null || exit 1
        until [ -s rootfs/tmp/state ]; do ${command} exec ${id} ${program} --version >/dev/null 2>&1; done
        until [ "$(cat rootfs/tmp/state)" = over ]; do :; done
        ${nativeTool("starling-run")} --root ${bundle.root} delete -f ${id}`;
      const { code, err } = bundle.shell(script);
      if (code !== 0) bundle.ours("delete", "-f", id);
      expect({ code, err }).toEqual({ code: 0, err: "" });
      rmSync(join(bundle.folder, "rootfs/tmp/state"));
      return readFileSync(runtime).equals(original) ? "as it was" : readFileSync(runtime, "utf8");
    };
    const withFile: Change = (c) =>
      c["mounts"].push({ destination: "/runtime", type: "bind", source: runtime, options: ["bind"] });
    // The file itself, plainly there.
    expect(attempt("/runtime", withFile)).toBe("overwritten\n");
    // The runtime as it is when it starts a program: a link of the image leads to itself.
    expect(attempt("/proc/self/exe", () => {})).toBe("as it was");
  });
});

describe("links that change while a container starts (CVE-2021-30465)", () => {
  it("lead no mount outside, at whatever moment they are swapped", () => {
    const outside = join(bundle.folder, "elsewhere");
    const folder = join(bundle.folder, "rootfs/swap");
    mkdirSync(outside);
    mkdirSync(join(folder, "folder"), { recursive: true });
    symlinkSync("../../elsewhere", join(folder, "link"));
    const mounts: Change = (c) => {
      for (const name of ["a", "b", "c"])
        c["mounts"].push({ destination: `/swap/now/${name}`, type: "tmpfs", source: "tmpfs" });
    };
    // Whoever goes by names ends up outside.
    renameSync(join(folder, "link"), join(folder, "now"));
    mkdirSync(join(folder, "now/naive"));
    expect(readdirSync(outside)).toEqual(["naive"]);
    rmSync(join(outside, "naive"), { recursive: true });
    renameSync(join(folder, "now"), join(folder, "link"));
    renameSync(join(folder, "folder"), join(folder, "now"));
    const file = bundle.write(bundle.config("grep -c /swap/ /proc/mounts; true", mounts), "swap.json");
    const swap = `while [ -e going ]; do mv -T rootfs/swap/now rootfs/swap/folder; mv -T rootfs/swap/link rootfs/swap/now
      mv -T rootfs/swap/now rootfs/swap/link; mv -T rootfs/swap/folder rootfs/swap/now; done`;
    // And whoever looks first and then goes by the name, before long: in a mount namespace of its own, which goes with it.
    const naive = `i=0; until grep -q "$PWD/elsewhere" /proc/self/mountinfo || [ $i = 5000 ]; do i=$((i+1))
      case $(realpath rootfs/swap/now) in */rootfs/*) mount -t tmpfs naive rootfs/swap/now;; esac; done 2>/dev/null
      grep -c "$PWD/elsewhere" /proc/self/mountinfo`;
    const fooled = bundle.shell(`touch going; { ${swap}; } & unshare --mount sh -c '${naive}'; rm going; wait`);
    expect(fooled.out).toBe("1\n");
    // What mv says comes in pieces, into which others' lines would fall.
    const { out } =
      bundle.shell(`exec 2>&1; touch going; { ${swap}; } 2>/dev/null & for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
      ${bundle.command} run -b ${bundle.folder} -f ${file} starling-swap-${process.pid}-$i || echo refused; done; rm going; wait`);
    // All mounts were made, each inside, or the start was refused.
    expect(out).not.toContain(outside);
    expect(readdirSync(outside)).toEqual([]);
    expect(out.split("\n").filter((line) => /^([0-3]|refused)$/.test(line)).length).toBe(20);
    expect(readFileSync("/proc/self/mountinfo", "utf8")).not.toContain(outside);
    rmSync(folder, { recursive: true });
    rmSync(join(bundle.folder, "rootfs/elsewhere"), { recursive: true, force: true });
  });

  it("at /dev/console are neither followed nor opened (CVE-2025-52565)", () => {
    const devices = join(bundle.folder, "rootfs/devices");
    const console = join(devices, "console");
    mkdirSync(join(devices, "pts"), { recursive: true });
    const own: Change = (c) => {
      c["process"].terminal = true;
      c["mounts"] = c["mounts"].filter((mount: { destination: string }) => !mount.destination.startsWith("/dev"));
      c["mounts"].push({ destination: "/dev", type: "bind", source: "rootfs/devices", options: ["bind"] });
      c["mounts"].push({
        destination: "/dev/pts",
        type: "devpts",
        source: "devpts",
        options: ["newinstance", "ptmxmode=0666"],
      });
    };
    const look = () => bundle.run(bundle.config("grep -c -e core_pattern -e decoy /proc/self/mountinfo", own));
    writeFileSync(join(devices, "null"), "");
    // A file takes the terminal.
    writeFileSync(console, "");
    expect(bundle.run(bundle.config("stat -c %F /dev/console", own))).toMatchObject({
      code: 0,
      out: "character special file\r\n",
    });
    rmSync(console);
    symlinkSync("/proc/sys/kernel/core_pattern", console);
    // Whoever binds by the name covers what the link leads to.
    const byName = "mount --bind /dev/null rootfs/devices/console && grep -c core_pattern /proc/self/mountinfo";
    expect(bundle.shell(`unshare --mount sh -c '${byName}'`).out).toBe("1\n");
    expect(look()).toMatchObject({
      code: 1,
      err: expect.stringContaining("/dev/console: must be neither a link nor a folder"),
    });
    rmSync(console);
    // A pipe that nobody reads holds nobody up.
    spawnSync("mkfifo", [console]);
    expect(bundle.shell("timeout 0.3 sh -c ': >rootfs/devices/console'").code).toBe(124);
    expect(look()).toMatchObject({ out: "0\r\n" });
    rmSync(devices, { recursive: true });
  });

  it("to files of /proc cover none of them (CVE-2025-52881)", () => {
    symlinkSync("/proc/self/attr", join(bundle.folder, "rootfs/trap"));
    symlinkSync("/data", join(bundle.folder, "rootfs/harmless"));
    const covered = (name: string) =>
      bundle.run(
        bundle.config("grep -c ' /data ' /proc/mounts", (c) =>
          c["mounts"].push({ destination: name, type: "tmpfs", source: "tmpfs" }),
        ),
      );
    expect(covered("/harmless").out).toBe("1\n");
    expect(covered("/trap")).toMatchObject({ code: 1, err: expect.stringContaining("lies inside /proc") });
    for (const name of ["trap", "harmless"]) rmSync(join(bundle.folder, "rootfs", name));
  });
});

it("a pipe in the place of the image's passwd holds nobody up", () => {
  const passwd = join(bundle.folder, "rootfs/etc/passwd");
  const home = () => output("env | grep HOME");
  writeFileSync(passwd, "root:x:0:0::/data:/bin/sh\n");
  expect(home()).toBe("HOME=/data\n");
  rmSync(passwd);
  spawnSync("mkfifo", [passwd]);
  expect(home()).toBe("HOME=/\n");
  rmSync(passwd);
});
