/** The operation that researches what a client should know about a person it is going to talk to. */
import { requiredInput, optionalInput } from "../research/inputs.js";
import type { Operation } from "../research/operation.js";

export const personIntelBriefing: Operation = {
  id: "person.derive.intel_briefing",
  prompt: "person-intel-briefing.md",
  processor: "pro",
  inputs: {
    client_company_name: requiredInput("client_company_name"),
    client_company_domain: optionalInput("client_company_domain"),
    client_company_description: requiredInput("client_company_description"),
    customer_company_name: optionalInput("customer_company_name"),
    customer_company_domain: optionalInput("customer_company_domain"),
    person_full_name: requiredInput("person_full_name", "full_name"),
    person_linkedin_url: optionalInput("person_linkedin_url", "linkedin_url"),
    person_current_job_title: optionalInput("person_current_job_title", "current_job_title", "title"),
    person_current_company_name: requiredInput("person_current_company_name", "current_company_name"),
    person_current_company_domain: optionalInput("person_current_company_domain", "current_company_domain"),
    person_current_company_description: optionalInput(
      "person_current_company_description",
      "current_company_description",
    ),
  },
  buildOutput: (inputs) => ({
    ...inputs,
    full_name: inputs["person_full_name"] ?? "",
    linkedin_url: inputs["person_linkedin_url"] ?? "",
    title: inputs["person_current_job_title"] ?? "",
  }),
};
