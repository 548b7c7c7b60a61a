import js from "@eslint/js";
import { defineConfig } from "eslint/config";
import tseslint from "typescript-eslint";

export default defineConfig(
  { ignores: ["node_modules/", ".trigger/"] },
  js.configs.recommended,
  tseslint.configs.strictTypeChecked,
  tseslint.configs.stylisticTypeChecked,
  {
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      // A number in a sentence needs no ceremony; objects and undefined in one are still mistakes.
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      // JSON keys are strings, whatever they look like.
      "@typescript-eslint/dot-notation": "off",
      "no-console": "error",
      curly: ["error", "multi-line"],
    },
  },
  {
    files: ["tests/**"],
    rules: {
      // node:test awaits what `test` and `describe` return by itself.
      "@typescript-eslint/no-floating-promises": [
        "error",
        {
          allowForKnownSafeCalls: [
            {
              from: "package",
              package: "node:test",
              name: ["test", "describe", "it", "before", "after", "beforeEach", "afterEach"],
            },
          ],
        },
      ],
    },
  },
);
