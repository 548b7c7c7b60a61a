/** Which job titles buy from a company: its ideal customer profile. */
import { needed, optional } from "./inputs.js";
import type { Operation } from "./operation.js";

export const icpJobTitles: Operation = {
  id: "company.derive.icp_job_titles",
  prompt: "icp-job-titles.md",
  processor: "pro",
  inputs: {
    company_name: needed("company_name", "canonical_name"),
    domain: needed("domain", "company_domain", "canonical_domain"),
    company_description: optional("company_description", "description"),
  },
  output: (inputs) => ({ ...inputs }),
};
