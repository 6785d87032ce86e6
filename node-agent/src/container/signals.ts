/** Pure: no clock, no I/O, no randomness. */
import { FatalTaskError } from "../exec/controller.ts";

/** Numbers on x86-64 and arm64 (signal(7)); the kernel's, not this Node's. */
const numbers: Readonly<Record<string, number>> = {
  HUP: 1,
  INT: 2,
  QUIT: 3,
  ILL: 4,
  TRAP: 5,
  ABRT: 6,
  IOT: 6,
  BUS: 7,
  FPE: 8,
  KILL: 9,
  USR1: 10,
  SEGV: 11,
  USR2: 12,
  PIPE: 13,
  ALRM: 14,
  TERM: 15,
  STKFLT: 16,
  CHLD: 17,
  CONT: 18,
  STOP: 19,
  TSTP: 20,
  TTIN: 21,
  TTOU: 22,
  URG: 23,
  XCPU: 24,
  XFSZ: 25,
  VTALRM: 26,
  PROF: 27,
  WINCH: 28,
  IO: 29,
  POLL: 29,
  PWR: 30,
  SYS: 31,
  RTMIN: 34,
  RTMAX: 64,
};

/** `"SIGTERM"`, `"term"`, `"15"`, `"SIGRTMIN+3"` → its number. Throws FatalTaskError for what is no signal. */
export function signalNumber(name: string): number {
  const plain = name.trim().toUpperCase().replace(/^SIG/, "");
  const direct = /^\d+$/.test(plain) ? Number(plain) : numbers[plain];
  const relative = /^(RTMIN|RTMAX)([+-]\d{1,2})$/.exec(plain);
  const number = relative ? numbers[relative[1]!]! + Number(relative[2]) : direct;
  if (number === undefined || number < 1 || number > 64) {
    throw new FatalTaskError(`stop signal ${JSON.stringify(name)}: must be a signal such as SIGTERM, or 1 to 64`);
  }
  return number;
}
