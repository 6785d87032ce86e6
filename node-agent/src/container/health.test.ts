import { ContainerSpec, HealthConfig } from "@starling/api";
import type { ImageConfig } from "@starling/registry";
import { describe, expect, it } from "vitest";
import { type Health, healthAfter, healthCheckOf } from "./health.ts";

const bare: ImageConfig = {
  user: "",
  env: [],
  entrypoint: [],
  cmd: [],
  workingDir: "",
  stopSignal: "",
  labels: {},
  volumes: [],
  diffIds: [],
};
const withCheck: ImageConfig = {
  ...bare,
  healthcheck: { test: ["CMD", "probe"], intervalNs: 2e9, timeoutNs: 0, startPeriodNs: 5e9, retries: 4 },
};

describe("healthCheckOf", () => {
  it("has Docker's defaults", () => {
    const healthcheck = HealthConfig.create({ test: ["CMD-SHELL", "curl -f localhost"] });
    expect(healthCheckOf(ContainerSpec.create({ healthcheck }), bare)).toEqual({
      args: ["/bin/sh", "-c", "curl -f localhost"],
      intervalMs: 30_000,
      timeoutMs: 30_000,
      startPeriodMs: 0,
      startIntervalMs: 5_000,
      retries: 3,
    });
  });

  it("lays the service's members over the image's", () => {
    const healthcheck = HealthConfig.create({ interval: { seconds: 1, nanos: 0 } });
    expect(healthCheckOf(ContainerSpec.create({ healthcheck }), withCheck)).toMatchObject({
      args: ["probe"],
      intervalMs: 1_000,
      startPeriodMs: 5_000,
      retries: 4,
    });
  });

  it("is off without a test, and when the service says NONE", () => {
    expect(healthCheckOf(ContainerSpec.create(), bare)).toBeUndefined();
    const healthcheck = HealthConfig.create({ test: ["NONE"] });
    expect(healthCheckOf(ContainerSpec.create({ healthcheck }), withCheck)).toBeUndefined();
  });
});

describe("healthAfter", () => {
  const check = healthCheckOf(ContainerSpec.create(), withCheck)!;
  it.each<[before: Health, probe: Parameters<typeof healthAfter>[1], after: Health]>([
    ["starting", { passed: true, failures: 0, inStartPeriod: true }, "healthy"],
    ["starting", { passed: false, failures: 9, inStartPeriod: true }, "starting"],
    ["starting", { passed: false, failures: 3, inStartPeriod: false }, "starting"],
    ["starting", { passed: false, failures: 4, inStartPeriod: false }, "unhealthy"],
    ["healthy", { passed: false, failures: 3, inStartPeriod: false }, "healthy"],
    ["healthy", { passed: false, failures: 4, inStartPeriod: false }, "unhealthy"],
    ["unhealthy", { passed: true, failures: 0, inStartPeriod: false }, "healthy"],
  ])("%s and %o: %s", (before, probe, after) => expect(healthAfter(before, probe, check)).toBe(after));
});
