import { all, type By, byIdPrefix, byName, byNamePrefix, type Kind, or } from "@starling/store";
import type { CommonFilters } from "./filters.ts";

/** The narrowest index that holds all objects which `passesEach` of these filters lets through. */
export function candidates(filters: CommonFilters | undefined): By<Kind> {
  if (filters === undefined) return all;
  if (filters.names.length > 0) return or(...filters.names.map(byName));
  if (filters.namePrefixes.length > 0) return or(...filters.namePrefixes.map(byNamePrefix));
  if (filters.idPrefixes.length > 0) return or(...filters.idPrefixes.map(byIdPrefix));
  return all;
}
