//! What the Kubernetes documentation and the course show.
