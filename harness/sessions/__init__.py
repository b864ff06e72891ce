"""One pytest session: what it selects, checks, resumes and leaves behind."""
