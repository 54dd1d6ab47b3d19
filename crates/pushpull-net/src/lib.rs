//! The only way out: address guard, resolver, pooled connections, limits on time and size.
