import type { Stage } from "./stage.ts";

interface Service {
  readonly endpoint: { readonly virtualIps: readonly { readonly networkId: string; readonly addr: string }[] };
}

/** A service's virtual IP on a network, by their names. */
export async function virtualIpOf(stage: Stage, service: string, network: string): Promise<string> {
  const { id } = await stage.json<{ id: string }>(["network", "inspect", network]);
  const { endpoint } = await stage.json<Service>(["service", "inspect", service]);
  const found = endpoint.virtualIps.find(({ networkId }) => networkId === id);
  if (found === undefined) throw new Error(`service ${service} has no virtual IP on network ${network}`);
  return found.addr.split("/")[0]!;
}
