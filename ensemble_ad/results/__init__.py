"""What people read: tables, evaluations, the report, the submission."""
