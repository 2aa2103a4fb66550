"""From folders of results to tables, V-scores, figures and a report."""
