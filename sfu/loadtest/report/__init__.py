"""Output of a load test for people.

Owns words, tables and plots. Never measures: figures come from `measure`.

    progress              state on the terminal while the test runs
    table                 results as rows of text
    page                  results as an HTML page with plots
"""
