/** `node timer.ts COUNT PROGRAM ARGUMENT…`: milliseconds of each run, as JSON. */
import { runProgram } from "@starling/native";

const [count, program = "", ...args] = process.argv.slice(2);
const measured: number[] = [];
// The first finds nothing in caches.
for (let i = 0; i <= Number(count); i++) {
  const begin = performance.now();
  const { code, err } = await runProgram(program, args);
  if (code !== 0) throw new Error(`${program}: exit status ${code}: ${err}`);
  if (i > 0) measured.push(performance.now() - begin);
}
console.log(JSON.stringify(measured));
