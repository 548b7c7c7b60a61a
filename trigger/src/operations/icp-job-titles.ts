/** The operation that researches which job titles buy from a company: its ideal customer profile. */
import { requiredInput, optionalInput } from "../research/inputs.js";
import type { Operation } from "../research/operation.js";

export const icpJobTitles: Operation = {
  id: "company.derive.icp_job_titles",
  prompt: "icp-job-titles.md",
  processor: "pro",
  inputs: {
    company_name: requiredInput("company_name", "canonical_name"),
    domain: requiredInput("domain", "company_domain", "canonical_domain"),
    company_description: optionalInput("company_description", "description"),
  },
  buildOutput: (inputs) => ({ ...inputs }),
};
