/** The types of the API's responses, with only the fields that the console reads; `/openapi.json` describes all. */
import type { Json, JsonObject } from "./json";

export interface Caller {
  kind: "internal" | "super_admin" | "session" | "token";
  role: string;
  org_id: string | null;
  company_id: string | null;
}

export interface Organisation {
  id: string;
  name: string;
  slug: string;
}

interface Source {
  operation: string;
  path: string | null;
  normalizers: string[];
}

export interface Column {
  name: string;
  type: string;
  description?: string;
  provided: boolean;
  key: boolean;
  required: boolean;
  on_missing?: string;
  on_invalid?: string;
  coalesce?: string[];
  operators: string[];
  sortable: boolean;
  sources: Source[];
}

export interface Research {
  operation: string;
  provider: string;
  processor: string;
  fresh_for_seconds: number | null;
  inputs: { name: string; paths: string[]; normalizers: string[]; required: boolean }[];
  prompt?: string;
}

export interface Spec {
  name: string;
  title: string;
  description: string;
  slug: string;
  table: string;
  file: string;
  operations: string[];
  conflict: string[];
  search: string[];
  many: boolean;
  on_absent: string;
  mappings: { operation: string; rows: string[]; when: string | null }[];
  columns: Column[];
  research: Research | null;
}

export interface WholeSpec extends Spec {
  yaml: string;
}

export type Outcome = "written" | "unchanged" | "superseded" | "filtered" | "rejected";

export interface Account {
  spec: string;
  org_id: string;
  found: number;
  written: number;
  unchanged: number;
  superseded: number;
  filtered: number;
  rejected: number;
  pending: number;
  elements: number;
  rows: number;
  duplicates: number;
  refused: number;
  stale_rows: number;
  reasons?: ReasonCount[];
}

export interface ReasonCount {
  outcome: string;
  code: string;
  field: string | null;
  count: number;
  message: string;
  step_result_id: string;
}

export interface Reason {
  code: string;
  field: string | null;
  message: string;
  value?: string | null;
  element?: number;
}

export type Row = JsonObject & { id: string };

export interface PageMeta {
  limit: number;
  offset: number;
  next_cursor: string | null;
  count?: number;
}

export interface Citation {
  url?: string;
  title?: string | null;
  excerpts?: string[] | null;
}

export interface Evidence {
  field: string;
  citations: Citation[] | null;
  reasoning: string | null;
  confidence: string | null;
}

export interface Cell {
  field: string;
  value: Json;
  step_result_id: string | null;
  path: string | null;
  raw: Json;
  steps: { normalizer: string; result: Json }[];
  evidence: Evidence[];
  element?: number | null;
  note?: string | null;
}

export interface HistoryEntry {
  step_result_id: string;
  recorded_at: string;
  /** null if this step result removed the row. */
  row: JsonObject | null;
}

export interface Explanation {
  id: string;
  state: string;
  explanation: string;
  cells: Cell[];
}

export interface KeyFinding {
  state: string;
  message: string;
  step_result_id: string;
  recorded_at: string;
  operation: string | null;
  submission_id: string | null;
  pipeline_run_id: string | null;
  superseded_by: string | null;
  reasons: Reason[];
}

/** The explanation of a key: its row, or why it has none. */
export interface KeyExplanation {
  id: string | null;
  state: string;
  explanation: string;
  known?: KeyFinding[];
}

interface Order {
  id: string;
  status: string;
  provider: string;
  processor: string;
  price: string | null;
  cost: string | null;
  provider_run_id: string | null;
  requested_at: string;
  ended_at: string | null;
}

export interface ListedOrder extends Order {
  operation: string;
  requested_by: string | null;
  submission_id: string | null;
  pipeline_run_id: string | null;
  step_result_id: string | null;
  error_code: string | null;
  error_message: string | null;
}

export interface StepOutcome {
  spec: string;
  outcome: string;
  rows: number;
  refused: number;
  reasons: Reason[];
  row_ids: string[];
}

export interface Step {
  id: string;
  position: number;
  attempt: number;
  status: string;
  operation_id: string | null;
  result_status: string | null;
  error_message: string | null;
  started_at: string | null;
  finished_at: string | null;
  recorded_at: string | null;
  order: Order | null;
  results: StepOutcome[];
}

export interface StepResult extends Step {
  submission_id: string;
  pipeline_run_id: string;
  input_payload: Json;
  output_payload: Json;
}

export interface Run {
  id: string;
  submission_id: string;
  status: string;
  attempt: number;
  runner: string;
  error_message: string | null;
  created_at: string;
  started_at: string | null;
  finished_at: string | null;
  input: Json;
  steps: Step[];
}

export interface ListedStep {
  step_result_id: string;
  spec: string;
  operation_id: string;
  submission_id: string;
  pipeline_run_id: string;
  recorded_at: string;
  outcome: string;
  rows: number | null;
  refused: number | null;
  reasons: Reason[];
}

export interface MonthlyCost {
  org_id: string;
  operation: string;
  month: string;
  orders: number;
  cost: string;
}
