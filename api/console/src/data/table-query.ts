/** A query of a table: how the page's address contains it, and the body for the query endpoint. */
import type { Column, Spec } from "./types";

export interface Filter {
  column: string;
  operator: string;
  value: string;
}

export interface TableQuery {
  filters: Filter[];
  search: string;
  order: string[];
  fields: string[];
  cursor: string | null;
}

const WORDS = new Set(["org", "q", "order", "fields", "cursor"]);
export const PAGE_SIZE = 50;

export const OPERATOR_NAMES: Record<string, string> = {
  eq: "is",
  in: "is one of",
  gt: "above",
  gte: "from",
  lt: "below",
  lte: "up to",
  prefix: "begins with",
  contains: "contains",
  is: "has a value",
};

/** Parse a query from an address's parameters: `company_domain=acme.com&founded.gte=2000&order=-updated_at`. */
export function parseQuery(query: URLSearchParams): TableQuery {
  const filters: Filter[] = [];
  for (const [name, value] of query) {
    if (WORDS.has(name)) continue;
    const [column = "", operator = "eq"] = name.split(".", 2);
    filters.push({ column, operator, value });
  }
  return {
    filters,
    search: query.get("q") ?? "",
    order: splitList(query.get("order")),
    fields: splitList(query.get("fields")),
    cursor: query.get("cursor"),
  };
}

/** Convert a query to the parameters of an address. */
export function buildParameters(tableQuery: Partial<TableQuery>): URLSearchParams {
  const query = new URLSearchParams();
  for (const { column, operator, value } of tableQuery.filters ?? []) {
    query.append(operator === "eq" ? column : `${column}.${operator}`, value);
  }
  if (tableQuery.search) query.set("q", tableQuery.search);
  if (tableQuery.order?.length) query.set("order", tableQuery.order.join(","));
  if (tableQuery.fields?.length) query.set("fields", tableQuery.fields.join(","));
  if (tableQuery.cursor) query.set("cursor", tableQuery.cursor);
  return query;
}

function splitList(text: string | null): string[] {
  return (text ?? "").split(",").filter(Boolean);
}

/** Build the request body from a query's filters, search and order, which only the API validates. */
export function buildBody(spec: Spec, tableQuery: TableQuery, orgId: string | null): Record<string, unknown> {
  const body: Record<string, unknown> = {};
  for (const { column, operator, value } of tableQuery.filters) {
    const known = spec.columns.find((candidate) => candidate.name === column);
    const operators = (body[column] ??= {}) as Record<string, unknown>;
    operators[operator] = convertOperand(known, operator, value);
  }
  if (tableQuery.search) body["q"] = tableQuery.search;
  if (tableQuery.order.length) body["order"] = tableQuery.order;
  if (orgId) body["org_id"] = orgId;
  return body;
}

function convertOperand(column: Column | undefined, operator: string, value: string): unknown {
  if (operator === "is") return value === "not null" ? "not null" : null;
  if (operator === "in") return value.split(",").map((entry) => convertValue(column, entry.trim()));
  if (operator === "prefix" || operator === "contains") return value;
  return convertValue(column, value);
}

const NUMBERS = new Set(["integer", "bigint", "numeric", "double precision"]);

function convertValue(column: Column | undefined, value: string): unknown {
  if (column?.type === "boolean" && (value === "true" || value === "false")) return value === "true";
  if (column && NUMBERS.has(column.type) && String(Number(value)) === value) return Number(value);
  return value;
}

/** Return the columns to show: the chosen ones; by default the spec's fields except documents, and `updated_at`. */
export function chooseColumns(spec: Spec, tableQuery: TableQuery): Column[] {
  const byName = new Map(spec.columns.map((column) => [column.name, column]));
  const chosen = tableQuery.fields.flatMap((name) => byName.get(name) ?? []);
  if (chosen.length) return chosen;
  const light = spec.columns.filter((column) => !column.provided && column.type !== "jsonb");
  return [...light.slice(0, 8), ...spec.columns.filter((column) => column.name === "updated_at")];
}
