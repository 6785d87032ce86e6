import { once } from "node:events";
import { Task, TaskState, taskStateName } from "@starling/api";
import { SmallSwarmd } from "./small-swarmd.ts";

/**
 * Stands for a swarmd that is killed. Arguments: folder, cgroup, task in base64. Says `ready`; after a line on its input it
 * takes the task through its life, a line each: `running`, `ended`, `removed`. SIGWINCH to itself starts kill-at's count.
 */
const [folder = "", cgroupParent = "", encoded = ""] = process.argv.slice(2);
const task = Task.decode(Buffer.from(encoded, "base64"));
const say = (line: string) => process.stdout.write(`${line}\n`);

say("ready");
await once(process.stdin, "data");
process.stdin.destroy();
// A swarmd has servers; without any, Node ends when nothing is under way.
const alive = setInterval(() => undefined, 1_000);
const swarmd = new SmallSwarmd({ folder, cgroupParent });
await swarmd.start();
process.kill(process.pid, "SIGWINCH");
swarmd.assign({ ...task, desiredState: TaskState.RUNNING });
const { state, err } = await swarmd.running(task.id);
say(state === TaskState.RUNNING ? "running" : `over: ${taskStateName(state)}: ${err}`);
swarmd.assign({ ...task, desiredState: TaskState.SHUTDOWN });
await swarmd.ended(task.id);
say("ended");
await swarmd.removeAll();
await swarmd.stop();
say("removed");
clearInterval(alive);
