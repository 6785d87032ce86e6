import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { closeSync, fstatSync, mkdtempSync, openSync, readSync, rmSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { SwarmError } from "@starling/base";
import { pace } from "./pace.ts";

export interface ExecResult {
  /** Exit status; 128 + the signal's number when a signal ended the command, as shells report it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ExecOptions {
  /** Standard input; empty by default. */
  readonly input?: string | Uint8Array;
  /** Added to this process's environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** The command is killed after this long, and `exec` throws DeadlineExceeded. 60,000 by default. */
  readonly timeoutMs?: number;
}

/**
 * Runs a program to its end. Output goes through files, not pipes: a background process that the command leaves behind
 * and that inherits its output can't hold up the return.
 */
export async function exec(command: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
  const [program, ...args] = command;
  if (program === undefined) throw new SwarmError("InvalidArgument", "exec: the command is empty");
  const out = openScratch();
  const err = openScratch();
  try {
    const child = spawn(program, args, {
      stdio: [options.input === undefined ? "ignore" : "pipe", out, err],
      env: { ...process.env, ...options.env },
      cwd: options.cwd,
    } as SpawnOptions);
    child.stdin?.on("error", () => {
      // The command ended without reading its input: its status says whether that is an error.
    });
    child.stdin?.end(options.input);
    const timeoutMs = pace * (options.timeoutMs ?? 60_000);
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill("SIGKILL");
    }, timeoutMs);
    const code = await exitOf(child).finally(() => clearTimeout(timer));
    const result = { code, stdout: readBack(out), stderr: readBack(err) };
    if (late) {
      throw new SwarmError(
        "DeadlineExceeded",
        `${command.join(" ")}: no end after ${timeoutMs} ms; output: ${result.stdout}${result.stderr}`,
      );
    }
    return result;
  } finally {
    closeSync(out);
    closeSync(err);
  }
}

/** As `exec`; returns standard output, and throws Internal with the command's own words when its status is not 0. */
export async function mustExec(command: readonly string[], options: ExecOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await exec(command, options);
  if (code === 0) return stdout;
  const words = stderr.trim() || stdout.trim();
  throw new SwarmError("Internal", `${command.join(" ")}: exit status ${code}: ${words}`);
}

/** Exit status as in `ExecResult`; rejects when the program could not be started. */
export function exitOf(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code, signal) => resolve(code ?? 128 + (signal ? constants.signals[signal] : 0)));
  });
}

/** Runs `ip -batch` in the network namespace of process `pid` (not `ip netns exec`: it remounts /sys). */
export async function ipBatch(pid: number, lines: readonly string[]): Promise<void> {
  await mustExec(["nsenter", `--net=/proc/${pid}/ns/net`, "ip", "-batch", "-"], { input: `${lines.join("\n")}\n` });
}

function openScratch(): number {
  const folder = mkdtempSync(join(tmpdir(), "starling-exec-"));
  const fd = openSync(join(folder, "output"), "w+");
  rmSync(folder, { recursive: true });
  return fd;
}

function readBack(fd: number): string {
  const buffer = Buffer.alloc(fstatSync(fd).size);
  const length = readSync(fd, buffer, 0, buffer.length, 0);
  return buffer.toString("utf8", 0, length);
}
