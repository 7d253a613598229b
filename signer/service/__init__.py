"""The signing service: a request, its approvals and the artefact go in; a package that all of them meant comes out."""
