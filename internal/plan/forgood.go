package plan

// ForGood makes what a phase stops stay stopped: its units do not start at the
// next boot either.
func (ph Phase) ForGood() Phase {
	no := false
	out := ph
	out.Stages = nil
	for _, st := range ph.Stages {
		kept := Stage{Name: st.Name}
		for _, s := range st.Steps {
			if u, ok := s.Action.(Unit); ok && u.Active != nil && !*u.Active {
				u.Enabled = &no
				s.Action = u
			}
			kept.Steps = append(kept.Steps, s)
		}
		out.Stages = append(out.Stages, kept)
	}
	return out
}
