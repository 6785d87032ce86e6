import { type Health, HealthCheckResponse, HealthCheckResponse_ServingStatus } from "@starling/api";
import type { Handlers } from "@starling/api/rpc";
import { SwarmError } from "@starling/base";

/**
 * Answers by name: Swarm's names are "Raft" on the remote address and "ControlAPI" on the local socket. No name asks for
 * the manager as a whole, which serves as long as it can answer.
 */
export function createHealthHandlers(
  services: Readonly<Record<string, () => "serving" | "not-serving" | "unknown">>,
): Handlers<typeof Health> {
  const statuses = {
    serving: HealthCheckResponse_ServingStatus.SERVING,
    "not-serving": HealthCheckResponse_ServingStatus.NOT_SERVING,
    unknown: HealthCheckResponse_ServingStatus.UNKNOWN,
  } as const;
  return {
    async check({ service }) {
      if (service === "") return HealthCheckResponse.create({ status: statuses.serving });
      const status = Object.hasOwn(services, service) ? services[service] : undefined;
      if (status === undefined) throw new SwarmError("NotFound", `health service "${service}" is unknown`);
      return HealthCheckResponse.create({ status: statuses[status()] });
    },
  };
}
