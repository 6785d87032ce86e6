import { type ChildProcessByStdio, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import {
  LogSubscriptionOptions,
  Mount,
  Mount_Type,
  Task,
  TaskState,
  type TaskStatus,
  taskStateName,
} from "@starling/api";
import { newId } from "@starling/base";
import { Ground } from "./ground.ts";
import { killAtTool } from "./kill-at.ts";
import { leftovers } from "./leftovers.ts";
import { SmallSwarmd } from "./small-swarmd.ts";

/** Who is killed before a step is done; kill-at.c says what each means. */
export const victims = ["swarmd", "shim", "both"] as const;
export type Victim = (typeof victims)[number];

/** What a kill led to. */
export interface Outcome {
  /** Which call was not done, and whose; undefined when the whole life has fewer steps. */
  readonly killedAt: string | undefined;
  /** What is wrong, a line each; empty: the task came right and nothing is left of it. */
  readonly problems: readonly string[];
}

/** A step that takes longer hangs. */
const patienceMs = 20_000;
/** Ends at once when told; a shell that is PID 1 needs the trap for that. */
const script = "trap 'exit 0' TERM; echo up; sleep 1000 & wait";

/** A life of a task under kill-at, begun ahead of its turn: loading the sources takes longer than the life. */
interface Life {
  readonly task: Task;
  readonly victim: Victim;
  readonly child: ChildProcessByStdio<Writable, Readable, null>;
  readonly words: string[];
  readonly closed: Promise<void>;
}

/** Plays lives of a task in which something is killed at a step, one after the other. */
export class KillStage {
  readonly #ground: Ground;

  private constructor(ground: Ground) {
    this.#ground = ground;
  }

  static async open(): Promise<KillStage> {
    const stage = new KillStage(await Ground.open());
    // Pulled once; kills while images come are another test's.
    const first = stage.begin({ victim: "swarmd", step: 1_000_000 });
    const { problems } = await stage.play(first);
    if (problems.length > 0) throw new Error(`a life without kills: ${problems.join("; ")}`);
    return stage;
  }

  async close(): Promise<void> {
    await this.#ground.close();
  }

  begin({ victim, step }: { readonly victim: Victim; readonly step: number }): Life {
    const task = this.#ground.task(script, (id) => [
      Mount.create({ type: Mount_Type.VOLUME, source: `data-${id}`, target: "/etc" }),
    ]);
    const { folder, cgroupParent } = this.#ground.place;
    const fixture = join(import.meta.dirname, "victim.fixture.ts");
    const encoded = Buffer.from(Task.encode(task)).toString("base64");
    const program = [process.execPath, fixture, folder, cgroupParent, encoded];
    const child = spawn(killAtTool(), [String(step), victim, "--", ...program], { stdio: ["pipe", "pipe", "inherit"] });
    const words: string[] = [];
    createInterface({ input: child.stdout }).on("line", (line) => words.push(line));
    const closed = new Promise<void>((resolve) => child.once("close", () => resolve()));
    return { task, victim, child, words, closed };
  }

  /** Ends a life that has not begun. */
  async forget({ child, closed }: Life): Promise<void> {
    child.kill("SIGKILL");
    await closed;
  }

  /** Lets a life begin, and has a fresh swarmd go on when it is over. */
  async play(life: Life): Promise<Outcome> {
    const { child, words, closed } = life;
    child.stdin.on("error", () => {}); // It may be gone before it has read.
    child.stdin.end("go\n");
    let hangs = false;
    const timer = setTimeout(() => {
      hangs = true;
      child.kill("SIGKILL");
    }, patienceMs);
    await closed;
    clearTimeout(timer);
    const killedAt = words.find((word) => word.startsWith("killed at"));
    if (killedAt === undefined && !words.includes("removed")) {
      return { killedAt, problems: [`it ended by itself; it had said: ${words.join(", ")}`] };
    }
    const problems = await within(patienceMs, this.#recover(life), ["the swarmd after it hung"]);
    return { killedAt, problems: [...(hangs ? [`it hung; it had said: ${words.join(", ")}`] : []), ...problems] };
  }

  /** A fresh swarmd, told what the managers would tell it: the task is wanted until its end was asked for. */
  async #recover({ task, victim, words }: Life): Promise<readonly string[]> {
    const problems: string[] = [];
    const over = words.find((word) => word.startsWith("over: "));
    if (over !== undefined && !/^over: (REJECTED|FAILED): ./.test(over)) problems.push(`it says no reason: ${over}`);
    const swarmd = new SmallSwarmd(this.#ground.place);
    await swarmd.start();
    if (!words.includes("removed")) {
      const wanted =
        words.includes("running") || over !== undefined ? [] : await this.#runs(swarmd, { task, victim }, problems);
      const ending = [task, ...wanted].map((each) => ({ ...each, desiredState: TaskState.SHUTDOWN }));
      swarmd.assign(...ending);
      for (const { id } of ending) await swarmd.ended(id);
    }
    await swarmd.removeAll();
    for (const { name, mountpoint } of await swarmd.executor.volumes.list()) {
      if (name.startsWith("data-") && words.includes("running")) problems.push(...notFilled(mountpoint));
      if (name.startsWith("data-")) await swarmd.executor.volumes.remove(name);
    }
    await swarmd.stop();
    return [...problems, ...(await leftovers(this.#ground.place))];
  }

  /** Sees to it that the task, or another in its place, runs; gives that other. */
  async #runs(
    swarmd: SmallSwarmd,
    { task, victim }: Pick<Life, "task" | "victim">,
    problems: string[],
  ): Promise<readonly Task[]> {
    swarmd.assign(task);
    const status = await swarmd.running(task.id);
    if (status.state === TaskState.RUNNING) {
      problems.push(...(await this.#printed(swarmd, task)));
      return [];
    }
    // A swarmd that ends is no reason for a task to end.
    if (victim === "swarmd" || status.err === "") problems.push(`the task is over: ${describe(status)}`);
    const other = { ...task, id: newId() };
    swarmd.assign({ ...task, desiredState: TaskState.SHUTDOWN }, other);
    const replaced = await swarmd.running(other.id);
    if (replaced.state !== TaskState.RUNNING) problems.push(`its replacement is over: ${describe(replaced)}`);
    else problems.push(...(await this.#printed(swarmd, other)));
    return [other];
  }

  /** Its program runs, and was started once. */
  async #printed(swarmd: SmallSwarmd, task: Task): Promise<readonly string[]> {
    const { signal } = new AbortController();
    const controller = swarmd.executor.controller(task);
    for await (const _chunk of controller.logs(LogSubscriptionOptions.create({ follow: true }), signal)) break;
    let text = "";
    for await (const { data } of controller.logs(LogSubscriptionOptions.create(), signal)) text += Buffer.from(data);
    controller.close();
    return text === "up\n" ? [] : [`it printed ${JSON.stringify(text)}`];
  }
}

const describe = ({ state, err }: TaskStatus) => `${taskStateName(state)}: ${err || "no reason"}`;

/** A volume that a container ran with has all that its image has there. */
function notFilled(mountpoint: string): readonly string[] {
  const missing = ["passwd", "group"].filter((name) => !existsSync(join(mountpoint, name)));
  return missing.map((name) => `${name} is missing in the volume`);
}

async function within<T>(ms: number, promise: Promise<T>, late: T): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<T>((resolve) => {
    timer = setTimeout(() => resolve(late), ms);
  });
  return Promise.race([promise, timeout]).finally(() => clearTimeout(timer));
}
