export { assert, assertNever } from "./assert.ts";
export { type Clock, FakeClock, type Millis, systemClock, type Timer } from "./clock.ts";
export { Code, type CodeName, codeName, SwarmError } from "./errors.ts";
export { newId } from "./ids.ts";
export { createLogger, type LogFields, type Logger, type LogLevel, nullLogger, parseLogLevel } from "./log.ts";
export { type Counter, type Gauge, type Histogram, Metrics, metrics } from "./metrics.ts";
export { type Random, seededRandom, systemRandom } from "./random.ts";
export { Wakeup } from "./wakeup.ts";
export { type Watcher, WatchQueue } from "./watch-queue.ts";
